"""An index of an array as the positions that it selects along each dimension, and those by chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = range | NDArray[np.intp]
"""Positions along one dimension, none of them negative."""


@dataclass(frozen=True)
class Selected:
    """``along`` has the positions for every dimension; ``shape`` leaves out those that a number has taken away."""

    along: tuple[Positions, ...]
    shape: tuple[int, ...]


def selected(index: Any, shape: Sequence[int]) -> Selected:
    """The positions that ``index`` selects of an array of ``shape``.

    A number takes its dimension away; slices, lists and arrays of positions, and arrays of booleans keep it. Raises
    `IndexError` for anything else, and for a position that is not there.
    """
    parts = index if isinstance(index, tuple) else (index,)
    gaps = [at for at, part in enumerate(parts) if part is Ellipsis]
    gap = gaps[0] if gaps else len(parts)
    left = len(shape) - len(parts) + len(gaps)
    if len(gaps) > 1 or left < 0:
        raise IndexError(f"index: {len(parts)} entries for an array of {len(shape)} dimensions")
    along: list[Positions] = []
    kept: list[int] = []
    whole = [*parts[:gap], *[slice(None)] * left, *parts[gap + 1 :]]
    for part, size in zip(whole, shape, strict=True):
        if isinstance(part, slice):
            along.append(range(size)[part])
            kept.append(len(along[-1]))
        elif isinstance(part, int | np.integer) and not isinstance(part, bool):
            along.append(range(*_at(int(part), size)))
        else:
            along.append(_positions(part, size))
            kept.append(len(along[-1]))
    return Selected(tuple(along), tuple(kept))


def _at(position: int, size: int) -> tuple[int, int]:
    if not -size <= position < size:
        raise IndexError(f"index: {position} is out of bounds for a dimension of size {size}")
    return position % size, position % size + 1


def _positions(part: Any, size: int) -> NDArray[np.intp]:
    found = np.asarray(part)
    if found.ndim == 1 and not found.size:
        return np.empty(0, np.intp)
    if found.ndim == 1 and found.dtype.kind == "b":
        if len(found) != size:
            raise IndexError(f"index: {len(found)} booleans for a dimension of size {size}")
        return np.flatnonzero(found)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise IndexError(f"index: {part!r} is neither a number, a slice nor an array of positions")
    if found.min() < -size or found.max() >= size:
        raise IndexError(f"index: a position is out of bounds for a dimension of size {size}")
    return np.where(found < 0, found + size, found).astype(np.intp)


@dataclass(frozen=True)
class Cut:
    """What is selected of one chunk along a dimension: where it is in the chunk, and where it goes."""

    number: int
    taken: slice | NDArray[np.intp]
    into: slice | NDArray[np.intp]


def cuts(positions: Positions, length: int) -> list[Cut]:
    """The selected positions by chunks of ``length`` along their dimension."""
    if isinstance(positions, range) and positions.step == 1:
        found = []
        for number in range(positions.start // length, -(-positions.stop // length)) if positions else ():
            first, last = (
                max(positions.start, number * length),
                min(positions.stop, (number + 1) * length),
            )
            found.append(
                Cut(
                    number,
                    slice(first - number * length, last - number * length),
                    slice(first - positions.start, last - positions.start),
                )
            )
        return found
    where = np.asarray(positions, np.intp)
    order = np.argsort(where, kind="stable")
    numbers = where[order] // length
    edges = np.flatnonzero(np.diff(numbers)) + 1
    return [
        Cut(int(where[part[0]] // length), where[part] % length, part)
        for part in np.split(order, edges)
        if len(part)
    ]
