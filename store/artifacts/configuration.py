"""One way to store and search a cell's vectors: a codec with its settings, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.leaf.reading import Leaf
from store.leaf.schema import Field

NO_SEED = -1
"""Stored in ``seed`` where a codec draws nothing."""


@dataclass(frozen=True, order=True)
class Configuration:
    """Settings of one search, in the columns of ``report/results.csv``.

    ``bits`` is 8 × ``bytes_per_vector`` and includes side information kept per vector. ``rescore`` names the
    representation that re-ranks the first ``oversample`` × k results and costs ``rescore_bytes`` more a vector;
    it is empty, and both are 0, where nothing is re-ranked.
    """

    codec: str
    variant: str
    scoring: str
    bits: int
    bytes_per_vector: int
    rescore: str = ""
    oversample: int = 0
    rescore_bytes: int = 0
    seed: int = NO_SEED

    def __post_init__(self) -> None:
        if self.bits != 8 * self.bytes_per_vector:
            raise ValueError(f"bits is {self.bits}, but 8 × bytes_per_vector is {8 * self.bytes_per_vector}")


COLUMNS = tuple(column.name for column in fields(Configuration))

_DESCRIPTIONS = {
    "codec": "compressed representation",
    "variant": "variant of the codec, empty for the plain one",
    "scoring": "how a query is compared with a code",
    "bits": "8 × bytes_per_vector",
    "bytes_per_vector": "exact size of a code with its side information",
    "rescore": "representation that re-ranks the first results, empty for none",
    "oversample": "results re-ranked, as a multiple of k; 0 for none",
    "rescore_bytes": "bytes a vector that re-ranking costs beside the code",
    "seed": "seed of the codec's random draw, -1 where it draws nothing",
}
_UNITS = {"bits": "bit", "bytes_per_vector": "byte", "rescore_bytes": "byte"}
_TEXT = frozenset({"codec", "variant", "scoring", "rescore"})

CONFIGURATION_FIELDS = {
    name: Field(
        dims=("configuration",),
        dtype="string" if name in _TEXT else "int32",
        description=_DESCRIPTIONS[name],
        units=_UNITS.get(name, "1"),
        coordinate=True,
    )
    for name in COLUMNS
}
"""The coordinate arrays that every artifact with a ``configuration`` dimension carries."""


def columns_of(configurations: Sequence[Configuration]) -> dict[str, NDArray[Any] | list[str]]:
    """The configurations as one array per column, ready for `LeafWriter.write`."""
    rows = [asdict(configuration) for configuration in configurations]
    return {
        name: [row[name] for row in rows]
        if name in _TEXT
        else np.array([row[name] for row in rows], np.int32)
        for name in COLUMNS
    }


def read_configurations(leaf: Leaf, group: str = "") -> list[Configuration]:
    """The configurations of a leaf, or of a group below it, in stored order."""
    prefix = f"{group}/" if group else ""
    columns = {
        name: leaf.strings(prefix + name) if name in _TEXT else leaf.read(prefix + name).tolist()
        for name in COLUMNS
    }
    return [
        Configuration(**dict(zip(COLUMNS, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]
