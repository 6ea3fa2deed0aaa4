"""Codes as they lie in the lake, with the codec and the state that belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.blocks import Rows
from store.artifacts.configuration import NO_SEED, Configuration
from store.codecs.base import State
from store.leaf.reading import Leaf
from store.search.neighbours import TopK


@dataclass(frozen=True, eq=False)
class StoredCodes:
    """The codes of one codec and seed: the first ``width`` bytes of each row of ``path`` at ``index``.

    ``key`` is the codec's in the registry.
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

    def decoded(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The vectors that the codes stand for, as ``(first_row, vectors)``."""
        for first, block in self.rows.blocks():
            yield first, self.codec.decode(self.state, block)

    def configuration(self, scoring: str = "") -> Configuration:
        """What a search of these codes is called; ``scoring`` where it is not the codec's own."""
        codec = self.codec
        return Configuration(
            codec.name,
            codec.variant,
            scoring or codec.scoring,
            8 * self.width,
            self.width,
            seed=getattr(codec, "seed", NO_SEED),
        )


def begin(codec: Any, state: State, embeddings: Leaf, k: int) -> TopK:
    """A search of codes for the k best documents of each query of a cell."""
    search: TopK = codec.search(state, embeddings.read("queries"), k)
    return search


def description(key: str, codec: Any) -> dict[str, Any]:
    """Attributes of a group of codes: the codec's key, and its settings without the seed."""
    settings = {name: value for name, value in asdict(codec).items() if name != "seed"}
    return {"codec": key, "settings": settings}


def stored_codes(leaf: Leaf, group: str, codecs: Mapping[str, Any]) -> list[StoredCodes]:
    """The codes of a group whose attributes are a `description`, one a seed; ``codecs`` are the classes by key."""
    attributes = leaf.group_attributes(group)
    key, path = attributes["codec"], f"{group}/documents"
    kind = codecs[key]
    found = []
    for index, seed in enumerate(leaf.read(f"{group}/seed").tolist()):
        drawn = {} if seed == NO_SEED else {"seed": seed}
        state = {name: leaf.read(f"{group}/{name}", index) for name in kind.STATE}
        codec = kind(**attributes["settings"], **drawn)
        found.append(StoredCodes(key, codec, state, leaf, path, index, leaf.arrays[path].shape[-1]))
    return found
