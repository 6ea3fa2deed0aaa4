"""Rotations that are the same on every machine: random ones, and the nearest to a matrix."""

from __future__ import annotations

import math

import numpy as np

from store.numerics.products import Matrix, coarse_product, on_grid, product

_DRAWN = 2.0**16  # grid lines per unit of random numbers, whose last place may follow the C library
_KEPT = 2.0**-15  # weight of the previous rotation beside the matrix
_DEFECT = 2.0**-20  # of an orthogonal matrix: what its products with itself may be off the identity
_SMALL = 2.0**-4
_FEW_STEPS, _MOST_STEPS = 16, 80


def random_rotation(dimension: int, seed: int) -> Matrix:
    """A (dimension, dimension) orthogonal matrix, uniformly distributed, its entries multiples of 2^-25.

    The polar factor of a Gaussian matrix, which is uniform because the matrix and each rotation of it have the same
    distribution (Chikuse 2003, theorem 2.2.1); numbers from `RandomState(seed)`.
    """
    drawn = np.random.RandomState(seed).standard_normal((dimension, dimension))
    found = _polar(np.rint(drawn * _DRAWN) / _DRAWN, 2.0**-14, 0.0, _MOST_STEPS)
    return np.eye(dimension) if found is None else found


def nearest_rotation(matrix: Matrix, previous: Matrix) -> Matrix:
    """The orthogonal matrix R that makes the trace of R' M greatest, its entries multiples of 2^-25.

    matrix: M, (dimension, dimension) float64. previous: an orthogonal matrix of that shape.

    R is the polar factor of M, the solution of the orthogonal Procrustes problem (Schönemann 1966). M does not
    determine it along singular vectors whose singular value is 0; so `previous`, at 2^-15 of the Frobenius norm of M,
    is added to M first: where M says nothing, the rotation stays as it was. That moves no fixed point of an
    alternation. A matrix that few steps on the coarse grid do not settle is nearly singular and is given fine
    products.
    """
    size = float(np.sqrt(np.square(matrix).sum()))
    if size == 0:
        return previous
    shifted = matrix / size + _KEPT * previous
    found = _polar(shifted, 2.0**-10, 0.0, _FEW_STEPS)
    if found is None:
        found = _polar(shifted, _KEPT, _SMALL, _MOST_STEPS)
    return previous if found is None else found


def _polar(matrix: Matrix, least: float, fine: float, steps: int) -> Matrix | None:
    """The polar factor by the iteration of Newton and Schulz, scaled as Chen & Chow (2014) do.

    least: the singular value, as a share of the Frobenius norm, from which on the scaling is best; smaller ones take
    more steps. fine: products are fine ones until the least singular value has grown to this. None where so many
    steps are not enough.

    Only products and element-wise operations are needed. Singular values stay below 1 (X) and 2.6 (its factor), and
    so do the lengths of rows and columns, which is what the coarse product asks for.
    """
    identity = np.eye(len(matrix))
    x = matrix / np.sqrt(np.square(matrix).sum())
    for _ in range(steps):
        times = product if least < fine else coarse_product
        square = times(x.T, x)
        if np.abs(square - identity).max() <= _DEFECT:
            return on_grid(x)
        scale = math.sqrt(3 / (1 + least + least**2))
        least = min(1.0, scale * least * (3 - scale**2 * least**2) / 2)
        x = times(x, scale / 2 * (3 * identity - scale**2 * square))
    return None
