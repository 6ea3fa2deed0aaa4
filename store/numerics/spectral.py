"""Eigenvalues and eigenvectors that are the same on every machine.

LAPACK's depend on the kernel of the BLAS: by rounding if eigenvalues are apart, altogether if they coincide. Here
Householder's reflections make the matrix tridiagonal, and Cuppen's divide and conquer with the secular equation
of rank-one updates (Golub & Van Loan 2013, sections 8.3.1 and 8.4; Gu & Eisenstat 1995) does the rest, all of it in
element-wise operations, sums in a fixed order and `store.numerics.products.product`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from store.numerics.products import Matrix, product

_EPSILON = float(np.finfo(np.float64).eps)


def eigen(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues (n,), ascending, and orthonormal eigenvectors (n, n), one a column, of a symmetric (n, n) matrix.

    Errors are a few 2^-44 of the largest eigenvalue, and that divided by the gap to the next eigenvalue. An eigenvector
    has its largest coordinate positive, of equal ones the first.
    """
    _, exponent = np.frexp(np.abs(matrix).max(initial=0.0))
    diagonal, beside, reflections = _tridiagonal(np.ldexp(matrix, -exponent))
    values, rows = _conquer(diagonal, beside)
    vectors = _reflected(rows.T, reflections)
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(len(vectors))] < 0, -1.0, 1.0)
    return np.ldexp(values, exponent), vectors * signs


def _tridiagonal(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Diagonal (n,) and what lies beside it (n - 1,) of H' M H, and the unit vectors of the reflections, the first
    applied last, in the columns of (n, n): H is the product of 1 - 2 v v'."""
    rest = matrix.copy()
    size = len(rest)
    reflections = np.zeros((size, max(size - 2, 0)))
    beside = np.zeros(max(size - 1, 0))
    for k in range(size - 2):
        v = rest[k + 1 :, k].copy()
        tail = float(np.square(v[1:]).sum())
        if tail == 0:
            beside[k] = v[0]
            continue
        beside[k] = -math.copysign(math.sqrt(v[0] ** 2 + tail), v[0])
        v[0] -= beside[k]
        v /= math.sqrt(v[0] ** 2 + tail)
        reflections[k + 1 :, k] = v
        corner = rest[k + 1 :, k + 1 :]
        p = 2 * (corner * v[:, None]).sum(axis=0)
        p -= (p * v).sum() * v
        update = np.multiply.outer(v, p)
        corner -= update + update.T
    if size > 1:
        beside[-1] = rest[-1, -2]
    return np.diagonal(rest).copy(), beside, reflections


def _reflected(vectors: Matrix, reflections: Matrix) -> Matrix:
    """The product of all reflections times the vectors: H = 1 - V T V' with T triangular.

    Schreiber & Van Loan 1989.
    """
    count = reflections.shape[1]
    if not count:
        return vectors
    inner = product(reflections.T, reflections)
    triangle = np.zeros((count, count))  # of T, transposed
    for j in range(count):
        triangle[j, :j] = -2 * (triangle[:j, :j] * inner[:j, j, None]).sum(axis=0)
        triangle[j, j] = 2.0
    return vectors - product(reflections, product(triangle.T, product(reflections.T, vectors)))


def _conquer(diagonal: Matrix, beside: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues, ascending, and eigenvectors, one a row, of a symmetric tridiagonal matrix."""
    size = len(diagonal)
    if size == 1:
        return diagonal, np.ones((1, 1))
    half = size // 2
    weight = abs(float(beside[half - 1]))
    diagonal = diagonal.copy()
    diagonal[half - 1 : half + 1] -= weight
    upper, upper_rows = _conquer(diagonal[:half], beside[: half - 1])
    lower, lower_rows = _conquer(diagonal[half:], beside[half:])
    rows = np.zeros((size, size))
    rows[:half, :half], rows[half:, half:] = upper_rows, lower_rows
    z = np.concatenate([upper_rows[:, -1], math.copysign(1, beside[half - 1]) * lower_rows[:, 0]])
    values = np.concatenate([upper, lower])
    order = np.argsort(values, kind="stable")
    values, rows, z = values[order], rows[order], z[order]
    active = _deflated(values, rows, z, weight)
    if len(active):
        roots, mixed = _rank_one(values[active], z[active], weight)
        values[active] = roots
        rows[active] = product(mixed, rows[active])
    order = np.argsort(values, kind="stable")
    return values[order], rows[order]


def _deflated(values: Matrix, rows: Matrix, z: Matrix, weight: float) -> NDArray[np.intp]:
    """Which eigenpairs of D the update D + weight z z' changes, by ascending value; the others stay as they are.

    Of two eigenvalues that are equal but for rounding a rotation, applied here to `values`, `rows` and `z`, frees one.
    """
    tolerance = 8 * _EPSILON * max(float(np.abs(values).max()), weight)
    active: list[int] = []
    for j in range(len(values)):
        if weight * abs(z[j]) <= tolerance:
            continue
        if active:
            i = active[-1]
            length = math.sqrt(z[i] ** 2 + z[j] ** 2)
            c, s = z[j] / length, z[i] / length
            if abs((values[j] - values[i]) * c * s) <= tolerance:
                z[i], z[j] = 0.0, length
                first, second = float(values[i]), float(values[j])
                values[i], values[j] = c * c * first + s * s * second, s * s * first + c * c * second
                rows[i], rows[j] = c * rows[i] - s * rows[j], s * rows[i] + c * rows[j]
                active.pop()
        active.append(j)
    found = np.array(active, np.intp)
    return found[np.argsort(values[found], kind="stable")]


def _rank_one(poles: Matrix, z: Matrix, weight: float) -> tuple[Matrix, Matrix]:
    """Eigenvalues and eigenvectors, one a row, of diag(poles) + weight z z', for ascending poles and weight > 0.

    The roots of 1 + weight sum z_j^2 / (pole_j - root) lie between the poles. Each is found, as its distance from the
    nearer pole, by halving the distance's range of floating-point numbers until none is left in it. Then z is
    replaced by the one for which these roots are exact, which makes the vectors orthogonal.
    """
    size = len(poles)
    squares = np.square(z)
    gaps = np.append(np.diff(poles), weight * squares.sum())
    right = np.zeros(size, bool)
    with np.errstate(divide="ignore", over="ignore"):
        middle = (poles - poles[:, None]) - gaps[:, None] / 2
        right[:-1] = (1 + weight * (squares / middle).sum(axis=1) < 0)[:-1]
        away = poles - poles[np.arange(size) + right][:, None]
        side = np.where(right, -1.0, 1.0)
        low = np.zeros(size, np.int64)
        high = np.where(np.arange(size) < size - 1, gaps / 2, gaps).view(np.int64)
        while (high - low > 1).any():
            trial = low + (high - low) // 2
            distance = side * trial.view(np.float64)
            value = 1 + weight * (squares / (away - distance[:, None])).sum(axis=1)
            before = side * value < 0
            low, high = np.where(before, trial, low), np.where(before, high, trial)
    distance = side * high.view(np.float64)
    to_poles = away - distance[:, None]
    index = np.arange(size)
    following = np.append(poles[1:], 0.0)
    divisor = np.where(index[:, None] < index, poles[:, None] - poles, following[:, None] - poles)
    divisor[-1] = 1.0
    exact = np.copysign(np.sqrt(np.multiply.reduce(-to_poles / divisor, axis=0)), z)
    vectors = exact / to_poles
    vectors /= np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return poles[index + right] + distance, vectors
