"""Matrix products that are the same on every machine.

How a float matrix product is rounded depends on the kernel of the BLAS, on its threads and on the shapes. So the
numbers are cut into pieces on grids so coarse that every product of two pieces and every partial sum is exact in
float64 (Ozaki, Ogita, Oishi & Rump 2012): then any order of summation, with or without fused multiply-add, gives the
same bits, and the matrix product of any BLAS can be used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from store.search.summation import sum_rows

Matrix = NDArray[np.float64]

_COARSE = 2.0**25  # grid lines per unit
_FINE = 2.0**45  # of what the first grid leaves
_MOST_TERMS = 1 << 16


def on_grid(matrix: Matrix) -> Matrix:
    """The matrix with every entry rounded to a multiple of 2^-25."""
    return np.asarray(np.rint(matrix * _COARSE) / _COARSE)


def coarse_product(left: Matrix, right: Matrix) -> Matrix:
    """left @ right, both rounded to the grid of 2^-25 first; one matrix product.

    Exact, and so the same everywhere, as long as the lengths of each row of the first and of each column of the second
    multiply to less than 8: no partial sum exceeds that, at a resolution of 2^-50.
    """
    return np.asarray(on_grid(left) @ on_grid(right) + 0.0)


def product(left: Matrix, right: Matrix) -> Matrix:
    """left @ right, (rows, terms) by (terms, columns) float64, finite, at most 65,536 terms.

    The error is below 2^-44 of the length of the row times the length of the column, or 2^-45 of it for up to 1,024
    terms. Each row and column is scaled by a power of two to a length of 1 to 2 and cut in two, multiples of 2^-25 and
    of 2^-45. By Cauchy-Schwarz no partial sum of the coarse pieces exceeds 2^3 at a resolution of 2^-50, and none of
    a coarse and a fine one 2^-17 at 2^-70: both fit the 53 bits of float64. Two fine pieces are left out.
    Raises ValueError for more terms.
    """
    if left.shape[1] > _MOST_TERMS:
        raise ValueError(f"a product of {left.shape[1]} terms may round: give at most {_MOST_TERMS}")
    rows, row_exponents = _scaled(left)
    columns, column_exponents = _scaled(right.T)
    coarse_rows, coarse_columns = on_grid(rows), on_grid(columns)
    fine_rows = np.rint((rows - coarse_rows) * _FINE) / _FINE
    fine_columns = np.rint((columns - coarse_columns) * _FINE) / _FINE
    found = coarse_rows @ fine_columns.T + fine_rows @ coarse_columns.T
    found += coarse_rows @ coarse_columns.T
    # The sign of a zero would depend on the order of summation.
    return np.asarray(np.ldexp(found, row_exponents[:, None] + column_exponents) + 0.0)


def _scaled(rows: Matrix) -> tuple[Matrix, NDArray[np.intp]]:
    """The rows divided by powers of two, which leave them lengths between 1 and 2, and the exponents of these."""
    _, exponents = np.frexp(np.abs(rows).max(axis=1, initial=0.0))
    scaled = np.ldexp(rows, -exponents[:, None])  # so that no square overflows or underflows
    _, more = np.frexp(sum_rows(np.square(scaled)))
    more = (more - 1) // 2
    return np.ldexp(scaled, -more[:, None]), np.asarray(exponents + more, np.intp)
