"""Searches of the rows of a leaf, cut into blocks where an engine can work on several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.executors import Engine
from store.leaf.reading import Leaf
from store.search.merging import merged, wanted_of
from store.search.neighbours import Neighbours, TopK

SEARCH_ROWS = 1 << 17
"""Most rows of a block of a search. A power of two, as are the rows of a shard: blocks and shards nest."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of an array of a leaf at the indices ``leading``; of each, its first ``width`` values."""

    leaf: Leaf
    path: str
    leading: tuple[int, ...] = ()
    width: int | None = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.leaf.arrays[self.path].shape[len(self.leading)]

    def blocks(self, part: slice | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Consecutive rows, all or those of a part, as ``(first_row, values)``."""
        for first, block in self.leaf.blocks(self.path, *self.leading, rows=part):
            yield first, block if self.width is None else block[:, : self.width]

    def parts(self, engine: Engine) -> list[slice]:
        """The parts that a search is cut into: whole shards, or equal parts of one; all rows where it is not cut."""
        step = min(self.leaf.shard_rows(self.path, *self.leading), SEARCH_ROWS) if engine.cuts else self.count
        return [slice(at, min(at + step, self.count)) for at in range(0, self.count, max(1, step))]


def top_k(
    engine: Engine,
    start: Callable[[int], TopK],
    rows: Rows,
    k: int,
    exclude: NDArray[np.int64],
    advance: Callable[[int], None] = lambda rows: None,
) -> Neighbours:
    """The k best of the rows; ``start`` begins a search for as many neighbours as it is told, leaving out none.

    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1. ``advance`` is told
    the rows that are done.
    """
    parts = rows.parts(engine)
    wanted = [wanted_of(part.stop - part.start, k, exclude) for part in parts]
    if not engine.cuts:
        found: Iterable[Neighbours] = [
            _search(start, rows, part, count, advance) for part, count in zip(parts, wanted, strict=True)
        ]
        return merged(found, k, exclude)
    jobs = [(start, rows, part, count) for part, count in zip(parts, wanted, strict=True)]

    def arriving() -> Iterator[Neighbours]:
        for part, neighbours in zip(parts, engine.in_order(_search, jobs), strict=True):
            yield neighbours
            advance(part.stop - part.start)

    return merged(arriving(), k, exclude)


def _search(
    start: Callable[[int], TopK],
    rows: Rows,
    part: slice,
    wanted: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Neighbours:
    top = start(wanted)
    for first, block in rows.blocks(part):
        top.update(block, first)
        advance(len(block))
    return top.result()
