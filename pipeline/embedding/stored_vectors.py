"""Vectors as they are stored, in float16; what that format cannot hold is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from store.encoders.base import Vectors
from store.errors import InvalidInput

MOST_LOST = 2.0**-10
"""Share of its length by which a vector may differ from its float16 copy; one that differs by more is refused.

It is twice the most that rounding costs a vector whose components are normal numbers of float16, from 6.1e-5 to 65504,
and bounds the change of direction to .06 degrees. No vector of unit length is refused: smaller components lose at most
2⁻²⁵ each.
"""

_PART_ROWS = 2048


def stored(vectors: Vectors, what: str, model: str, first: int = 0) -> NDArray[np.float16]:
    """``vectors`` (rows, dimension) in float16.

    Raises `InvalidInput` naming the model, its field in ``params.yaml`` and the first row, counted from ``first``, that
    would be stored as zeros, as infinity or with another direction; ``what`` says what a row is.
    """
    with np.errstate(over="ignore", under="ignore"):
        halves = vectors.astype(np.float16)
    for start in range(0, len(vectors), _PART_ROWS):
        rows = slice(start, start + _PART_ROWS)
        _check(vectors[rows], halves[rows], what, model, first + start)
    return halves


def _check(vectors: Vectors, halves: NDArray[np.float16], what: str, model: str, first: int) -> None:
    # In units of the largest component: squares of the smallest and the largest float32 are no float32.
    size = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    with np.errstate(all="ignore"):
        lost = np.linalg.norm((halves.astype(np.float32) - vectors) / size, axis=1)
        share = lost / np.linalg.norm(vectors / size, axis=1)
    # Not `share > MOST_LOST`, which NaN would pass.
    unfit = np.flatnonzero(~(share <= MOST_LOST))
    if not len(unfit):
        return
    row = int(unfit[0])
    largest = f"{size[row, 0]:.3g}"
    if not np.isfinite(halves[row]).all():
        problem = f"a component of {largest}, and float16 ends at 65504"
    elif not halves[row].any():
        problem = f"no component above {largest}, and float16 would store only zeros"
    else:
        problem = f"no component above {largest}, and float16 would change its direction"
    raise InvalidInput(
        f"model {model}: {what} {first + row} has {problem}; set models.{model}.normalize to true in params.yaml"
    )
