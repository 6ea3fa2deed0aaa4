"""Thresholds against the equation that they solve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import ndtr

from analysis.theory.threshold import thresholds


@example(199, 35, 0.3125)  # where steps of Newton alone go to and fro for ever
@given(st.integers(0, 10_000), st.integers(2, 60), st.floats(0.01, 1.0))
def test_as_many_documents_are_expected_below_as_the_depth(seed: int, documents: int, spread: float) -> None:
    draw = np.random.RandomState(seed)
    means = np.sort(draw.random_sample(documents))
    deviations = np.array(spread * (0.01 + draw.random_sample((3, documents))), np.float64)
    weights = np.array(draw.randint(1, 5, documents), np.float64)
    depths = np.array([1, 1 + weights.sum() // 2, weights.sum() - 1]).astype(np.int64)
    found = thresholds(means, deviations, weights, depths, np.zeros(3))
    expected = (weights * ndtr((found[:, None] - means) / deviations)).sum(axis=1)
    np.testing.assert_allclose(expected, depths, rtol=1e-9)


def test_equal_documents_share_the_depth() -> None:
    found = thresholds(np.full(8, 0.5), np.full((1, 8), 0.01), np.ones(8), np.array([4]), np.array([0.1]))
    assert found[0] == pytest.approx(0.5, abs=1e-8)
