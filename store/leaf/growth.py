"""Growing a leaf: rows that would come out the same are copied from the earlier leaf.

The contents of a leaf say what each block of rows of an array was made from: one digest of the recipe (code,
settings, fitted state) and of the block's input. A block of the earlier leaf that has, at the same place, the digest
that is wanted now is copied; every other is made. A leaf that has grown is therefore, byte for byte, the one that
would have been made from scratch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from store.errors import BitlakeError
from store.leaf import digest
from store.leaf.commit import LeafWriter
from store.leaf.reading import CONTENTS, Leaf, open_leaf
from store.leaf.schema import Schema

BLOCK_ROWS = 16384
"""Rows of a block of codes, each of which is made from its vector alone. A power of two, and no more than a shard has:
blocks and shards nest."""

R = TypeVar("R")


class InOrder(Protocol):
    """``itertools.starmap``, or the same in several processes, a bounded number of jobs ahead."""

    def __call__(self, work: Callable[..., R], jobs: Iterable[tuple[Any, ...]], /) -> Iterable[R]:
        """The result of ``work`` for the arguments of each job, in the order of the jobs."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows of what an array is made from, and the digest of their content."""

    first: int
    rows: int
    content: str

    @property
    def slice(self) -> slice:
        """The rows, as an index."""
        return slice(self.first, self.first + self.rows)


def array_blocks(leaf: Leaf, path: str, in_order: InOrder = itertools.starmap) -> list[Block]:
    """The vectors of a leaf in blocks of `BLOCK_ROWS`; every value is read."""
    parts = row_parts(leaf.size(leaf.schema.field_of(path).dims[0]))
    contents = in_order(_content, ((leaf, path, part) for part in parts))
    return [
        Block(part.start, part.stop - part.start, content)
        for part, content in zip(parts, contents, strict=True)
    ]


def row_parts(rows: int) -> list[slice]:
    """``rows`` rows in parts of `BLOCK_ROWS`."""
    return [slice(at, min(at + BLOCK_ROWS, rows)) for at in range(0, rows, BLOCK_ROWS)]


def _content(leaf: Leaf, path: str, part: slice) -> str:
    return digest.of_array(leaf.read(path, part))


def text_blocks(batches: Iterable[list[str]]) -> list[Block]:
    """Texts, which come in batches, as blocks."""
    blocks: list[Block] = []
    first = 0
    for texts in batches:
        blocks.append(Block(first, len(texts), digest.of_texts(texts)))
        first += len(texts)
    return blocks


@dataclass(frozen=True)
class Earlier:
    """What is at the place of a leaf to be written: ``leaf`` is None if it is of no use."""

    leaf: Leaf | None
    made_from: Mapping[str, Any]

    @classmethod
    def at(cls, path: Path, schema: Schema) -> Earlier:
        """The leaf at ``path``; one that is missing, damaged or of another kind is of no use."""
        try:
            leaf = open_leaf(path, schema)
            contents = json.loads(leaf.source.read("zarr.json"))["attributes"][CONTENTS]
            return cls(leaf, dict(contents["made_from"]))
        except (BitlakeError, KeyError, TypeError, ValueError):
            return cls(None, {})

    def attribute(self, name: str, origin: str) -> Any:
        """The attribute ``name`` if it was made from ``origin``; None where it was not."""
        if self.leaf is None or self.made_from.get(name) != [origin]:
            return None
        return self.leaf.attributes[name]

    def has(self, path: str, number: int, origin: str) -> bool:
        """Whether block ``number`` of the array was made from ``origin``, by what the leaf says."""
        origins = self.made_from.get(path)
        return (
            self.leaf is not None and isinstance(origins, list) and origins[number : number + 1] == [origin]
        )

    def block(self, path: str, number: int, origin: str, index: tuple[Any, ...]) -> NDArray[Any] | None:
        """The values at ``index`` if block ``number`` of the array was made from ``origin`` and is whole, else None."""
        if self.leaf is None or not self.has(path, number, origin):
            return None
        try:
            return self.leaf.read(path, index)
        except (
            Exception
        ):  # any error that a damaged leaf causes in the libraries; its rows are computed again
            return None


def grow(
    writer: LeafWriter,
    earlier: Earlier,
    path: str,
    shape: tuple[int, ...],
    recipe: str,
    blocks: Sequence[Block],
    make: Callable[..., NDArray[Any]],
    advance: Callable[[int], None] = lambda rows: None,
    in_order: InOrder = itertools.starmap,
) -> int:
    """Create the array at ``path`` and fill it from ``blocks``; returns how many rows were made and not taken over.

    ``recipe`` is the digest of all that values depend on besides their block. ``make(block, *leading)`` gives the
    rows of a block, ``leading`` being the indices of the dimensions before the rows; ``in_order`` runs it. ``advance``
    is called with the rows that are done. Only this process writes.
    """
    origins = [digest.of_settings(recipe=recipe, content=block.content) for block in blocks]
    array = writer.create(path, shape)
    writer.made_from[path] = origins
    declared = writer.schema.field_of(path)
    axis = declared.dims.index(declared.rows or declared.dims[0])
    made = 0
    to_make = [
        (block, *leading)
        for leading in np.ndindex(*shape[:axis])
        for number, (block, origin) in enumerate(zip(blocks, origins, strict=True))
        if not earlier.has(path, number, origin)
    ]
    results = iter(in_order(make, to_make))

    def filled(*leading: int) -> Iterator[NDArray[Any]]:
        nonlocal made
        for number, (block, origin) in enumerate(zip(blocks, origins, strict=True)):
            known = earlier.has(path, number, origin)
            rows = earlier.block(path, number, origin, (*leading, block.slice)) if known else next(results)
            if rows is None or len(rows) != block.rows:
                rows = make(block, *leading)
                known = False
            made += 0 if known else block.rows
            yield rows
            advance(block.rows)

    for leading in np.ndindex(*shape[:axis]):
        writer.fill(array, filled(*leading), *leading)
    return made
