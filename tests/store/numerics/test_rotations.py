"""Rotations: orthogonal, nearest, uniform."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import polar
from scipy.stats import kstest

from store.numerics.rotations import nearest_rotation, random_rotation


def drawn(dimension: int, condition: float, seed: int) -> NDArray[np.float64]:
    """A matrix with singular values from 1 down to 1 / condition."""
    left, right = random_rotation(dimension, seed), random_rotation(dimension, seed + 1)
    return np.asarray(left * np.geomspace(1, 1 / condition, dimension) @ right)


@pytest.mark.parametrize("dimension", [1, 2, 16, 200])
def test_random_rotations_are_orthogonal_and_follow_the_seed(dimension: int) -> None:
    rotation = random_rotation(dimension, 5)
    assert np.abs(rotation.T @ rotation - np.eye(dimension)).max() < 1e-6
    assert (rotation == random_rotation(dimension, 5)).all()
    assert dimension == 1 or np.abs(rotation - random_rotation(dimension, 6)).max() > 0.1


def test_random_rotations_are_uniform() -> None:
    """A column is uniform on the sphere: in three dimensions its coordinates are uniform in [-1, 1] (Archimedes)."""
    coordinates = np.array([random_rotation(3, seed)[[0, 1, 2], [1, 2, 0]] for seed in range(1500)])
    for each in coordinates.T:
        assert kstest(each, "uniform", args=(-1, 2)).pvalue > 0.001


@pytest.mark.parametrize("condition", [1, 50, 2000])
def test_the_nearest_rotation_is_the_polar_factor(condition: float) -> None:
    matrix = drawn(60, condition, 7)
    # From the answer itself: what is added of it does not move it.
    expected = polar(matrix)[0]
    assert np.abs(nearest_rotation(3.7 * matrix, expected) - expected).max() < 1e-4
    # From anywhere: it moves by what the weight of the previous rotation is to the least singular value.
    found = nearest_rotation(3.7 * matrix, random_rotation(60, 1))
    assert np.trace(found.T @ matrix) > (1 - 1e-3) * np.trace(expected.T @ matrix)


def test_where_the_matrix_says_nothing_the_rotation_stays() -> None:
    previous = random_rotation(20, 3)
    assert (nearest_rotation(np.zeros((20, 20)), previous) == previous).all()
    # M = a b' asks for b -> a alone; the rotation that does it already keeps all else.
    a = previous[:, :1]
    found = nearest_rotation(a @ np.eye(20)[:1], previous)
    assert np.abs(found - previous).max() < 1e-4


def test_rank_one_gives_a_rotation() -> None:
    draw = np.random.RandomState(0)
    matrix = np.outer(draw.standard_normal(30), draw.standard_normal(30))
    found = nearest_rotation(matrix, np.eye(30))
    assert np.abs(found.T @ found - np.eye(30)).max() < 1e-5
