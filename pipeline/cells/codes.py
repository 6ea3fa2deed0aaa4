"""Codes as they lie in the lake, with the codec and the state that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cells.blocks import Rows
from store.artifacts.codes import CodesSchema
from store.artifacts.configuration import NO_SEED, Configuration
from store.codecs.base import State
from store.codecs.settings import SEED
from store.leaf.reading import Leaf

LENGTHS = "bits"
"""The setting, and the attribute of a group, that says which lengths one stored code serves with its beginning."""


@dataclass(frozen=True, eq=False)
class StoredCodes:
    """The codes of one codec and seed: the first ``width`` bytes of each row of ``path`` at ``index``.

    ``key`` is the codec's; the state was fitted on ``fit_rows`` documents.
    """

    key: str
    codec: Any
    state: State
    leaf: Leaf
    path: str
    index: int
    width: int

    @property
    def rows(self) -> Rows:
        """The codes, a row each."""
        return Rows(self.leaf, self.path, (self.index,), self.width)

    @property
    def fit_rows(self) -> int:
        """How many documents the codec was fitted on."""
        return int(self.leaf.attributes["fit_rows"])

    def decoded(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The vectors that the codes stand for, as ``(first_row, vectors)``."""
        for first, block in self.rows.blocks():
            yield first, self.codec.decode(self.state, block)

    def configuration(self, scoring: str) -> Configuration:
        """What a search of these codes is called."""
        codec = self.codec
        seed = getattr(codec, SEED, NO_SEED)
        return Configuration(codec.name, codec.variant, scoring, 8 * self.width, self.width, seed=seed)


def description(key: str, codec: Any, lengths: list[int]) -> dict[str, Any]:
    """Attributes of a group of codes: its codec, the settings without the seed, and lengths served by prefixes."""
    settings = {name: value for name, value in asdict(codec).items() if name != SEED}
    return {"codec": key, "settings": settings, **({LENGTHS: lengths} if lengths else {})}


def stored_codes(leaf: Leaf, schema: CodesSchema) -> Iterator[StoredCodes]:
    """All codes of a leaf of ``schema``, a length after the other, in each one a seed."""
    for group in leaf.groups():
        attributes, path = leaf.group_attributes(group), f"{group}/documents"
        kind: Any = schema.codecs[attributes["codec"]]
        for length in attributes.get(LENGTHS, [None]):
            settings = attributes["settings"] | ({} if length is None else {LENGTHS: length})
            for index, seed in enumerate(leaf.read(f"{group}/seed").tolist()):
                codec = kind(**settings, **({} if seed == NO_SEED else {SEED: seed}))
                width = codec.bytes_per_vector(0) if length else leaf.arrays[path].shape[-1]
                state = {name: leaf.read(f"{group}/{name}", index) for name in kind.STATE}
                yield StoredCodes(attributes["codec"], codec, state, leaf, path, index, width)
