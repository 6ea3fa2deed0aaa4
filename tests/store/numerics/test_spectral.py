"""Eigenvalues and eigenvectors against LAPACK's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from store.numerics.spectral import eigen

DRAW = np.random.RandomState(0)
GAUSSIAN = DRAW.standard_normal((150, 150))
LOW_RANK = DRAW.standard_normal((90, 12))
MATRICES = {
    "one number": np.array([[-3.0]]),
    "two": np.array([[1.0, 2.0], [2.0, -1.0]]),
    "Gaussian": GAUSSIAN + GAUSSIAN.T,
    "a scatter": GAUSSIAN[:, :60].T @ GAUSSIAN[:, :60],
    "of low rank": LOW_RANK @ LOW_RANK.T,
    "graded": np.diag(2.0 ** -np.arange(60)) + 1e-9 * (GAUSSIAN[:60, :60] + GAUSSIAN[:60, :60].T),
    "zero": np.zeros((24, 24)),
    "a multiple of one": np.eye(31) * 5,
    "constant": np.ones((50, 50)),
    "diagonal": np.diag(DRAW.standard_normal(40)),
    "Wilkinson's, with pairs that nearly meet": np.diag(np.abs(np.arange(-40.0, 41)))
    + np.diag(np.ones(80), 1)
    + np.diag(np.ones(80), -1),
    "tiny": 1e-290 * (GAUSSIAN + GAUSSIAN.T),
    "huge": 1e290 * (GAUSSIAN + GAUSSIAN.T),
}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_pairs_are_those_of_the_definition(matrix: NDArray[np.float64]) -> None:
    values, vectors = eigen(matrix)
    size = max(float(np.abs(matrix).max()), 1e-300) * len(matrix)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(values / size, np.linalg.eigvalsh(matrix / size), atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(matrix)), atol=1e-11)
    np.testing.assert_allclose((matrix / size) @ vectors, vectors * (values / size), atol=1e-12)


def test_the_largest_coordinate_is_positive() -> None:
    _, vectors = eigen(MATRICES["Gaussian"])
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(150)] > 0).all()
