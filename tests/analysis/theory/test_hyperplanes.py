"""One random hyperplane: what is called exact against simulation with thousands of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.geometry.spectrum import unit_rows
from analysis.theory.hyperplanes import difference_variance, from_cosine, mismatch_probability

Array = NDArray[np.float64]

HYPERPLANES = 200_000


def triples() -> Array:
    """Query and two documents, (3, 12): near, far and opposite ones, in 3 to 40 dimensions."""
    draw = np.random.RandomState(0)
    rows = []
    for spread in (0.05, 0.3, 1.0, 3.0):
        for _ in range(3):
            query = draw.standard_normal(8)
            rows.append(
                [query, query + spread * draw.standard_normal(8), query - spread * draw.standard_normal(8)]
            )
    return np.array(rows)


@pytest.mark.parametrize("triple", triples())
def test_mean_and_variance_are_those_of_many_hyperplanes(triple: Array) -> None:
    query, first, second = unit_rows(triple)
    normals = np.random.RandomState(1).standard_normal((HYPERPLANES, len(query)))
    sign = normals @ np.stack([query, first, second]).T > 0
    differ = (sign[:, 1:] != sign[:, :1]).astype(float)
    documents = np.stack([first, second])
    p = mismatch_probability(query[None], documents)[0]
    between = mismatch_probability(first[None], second[None])[0, 0]
    variance = difference_variance(p[0], p[1], between)
    # Five standard errors of a mean of zeros and ones, and of the mean of the squares of −1, 0 and 1.
    np.testing.assert_allclose(differ.mean(axis=0), p, atol=5 * np.sqrt(0.25 / HYPERPLANES))
    np.testing.assert_allclose(
        np.var(differ[:, 0] - differ[:, 1]), variance, atol=5 * np.sqrt(0.3 / HYPERPLANES)
    )


def test_the_binomial_variances_would_be_wrong() -> None:
    query, near, twin = unit_rows(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.01]]))
    p = mismatch_probability(query[None], np.stack([near, twin]))[0]
    shared = difference_variance(p[0], p[1], mismatch_probability(near[None], twin[None])[0, 0])
    assert shared == pytest.approx(0.0032, abs=1e-4)
    assert p[0] * (1 - p[0]) + p[1] * (1 - p[1]) == pytest.approx(0.5)


def test_a_document_and_its_copy_never_differ() -> None:
    rows = unit_rows(np.random.RandomState(2).standard_normal((5, 384)))
    itself = np.diagonal(mismatch_probability(rows, rows))
    assert itself.max() < 1e-6
    np.testing.assert_array_equal(difference_variance(np.full(5, 0.3), np.full(5, 0.3), np.zeros(5)), 0.0)


def test_rounding_beyond_one_is_an_angle_of_nothing_or_of_a_half_turn() -> None:
    np.testing.assert_array_equal(from_cosine(np.array([1 + 1e-12, 0.0, -1 - 1e-12])), [0.0, 0.5, 1.0])
