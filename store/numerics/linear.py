"""Linear maps that give a row the same bits in every batch, on every machine.

The rounding of a float matrix product depends on how many rows are multiplied together, and a code must not. So
the numbers are laid on grids so coarse that every product and every partial sum is exact in float64 (the idea of
Ozaki, Ogita, Oishi & Rump 2012): then any order of summation, with or without fused multiply-add, gives the same
bits, and the matrix product of any BLAS can be used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.summation import sum_rows
from store.search.vectors import Floats

_GRID = 2.0**24  # grid lines per unit of a matrix, and of a row scaled to a length of 1 … 2
_FINE_GRID = 2.0**45  # those of what the first grid leaves of a row
_MOST_DIMENSIONS = 1 << 16
_LONGEST = 2.0


def rounded(matrix: NDArray[Any]) -> NDArray[np.float32]:
    """The matrix with every entry rounded to a multiple of 2^-24, which float32 holds exactly.

    matrix: any shape, float, entries of at most 1 in size, as rotations and principal axes have them.
    Raises InvalidInput for larger entries and for NaN.
    """
    lines = np.rint(np.asarray(matrix, dtype=np.float64) * _GRID)
    if not (np.abs(lines) <= _GRID).all():
        raise InvalidInput("matrix holds an entry that is larger than 1 or NaN: give orthonormal axes")
    return (lines / _GRID + 0.0).astype(np.float32)


def product(vectors: Floats, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """vectors @ matrix, each row of which is a function of that row and of the matrix alone.

    vectors: (rows, dimension) float16 or float32, finite. matrix: (dimension, out) float32 as `rounded` gives it,
    columns no longer than 2, dimension at most 65,536.
    Returns (rows, out) float64. For float16 rows no longer than 2, and for float32 copies of them, it is the exact
    product; otherwise it is within 2^-45 sqrt(dimension) of the lengths of row and column multiplied.
    Raises InvalidInput for another matrix.

    Each row is scaled by a power of two to a length between 1 and 2 and cut in two: multiples of 2^-24, and what
    they leave, rounded to multiples of 2^-45. By Cauchy-Schwarz no partial sum of the first part exceeds 2^5 at a
    resolution of 2^-48, and none of the second part 2^-16 at 2^-69, so that all fit the 53 bits of float64.
    """
    columns = _checked(matrix)
    rows = vectors.astype(np.float64)
    _, exponents = np.frexp(sum_rows(np.square(rows)))
    exponents = (exponents[:, None] - 1) // 2
    rows = np.ldexp(rows, -exponents)
    coarse = np.rint(rows * _GRID) / _GRID
    fine = np.rint((rows - coarse) * _FINE_GRID) / _FINE_GRID
    result = coarse @ columns
    if fine.any():
        result += fine @ columns
    return np.ldexp(result, exponents) + 0.0  # the sign of a zero would depend on the order of summation


def _checked(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    columns = matrix.astype(np.float64)
    on_grid = np.rint(columns * _GRID) == columns * _GRID
    squares = np.square(columns).sum(axis=0)
    if len(columns) > _MOST_DIMENSIONS or not on_grid.all() or not (squares <= _LONGEST**2).all():
        raise InvalidInput(
            f"matrix has shape {matrix.shape}: give at most {_MOST_DIMENSIONS} rows of multiples of 2^-24 "
            f"in columns no longer than {_LONGEST:g}, as `rounded` makes them of orthonormal axes"
        )
    return columns
