"""Sign margins against their definitions, and what they can and cannot see."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.geometry.intervals import row_groups
from analysis.geometry.margins import (
    coordinate_margins,
    coordinate_replicates,
    margin_measures,
    projection_margins,
    projection_replicates,
)

Array = NDArray[np.float64]

# Of the absolute value of a standard normal variable.
HALF_NORMAL_MEDIAN = 0.6745


def half_normal(near: float) -> float:
    """P(|N| < near)."""
    return erf(near / sqrt(2))


def test_values_and_replicates_equal_the_definition() -> None:
    projections = np.random.RandomState(0).standard_normal((30, 8)) + 0.5
    group, directions = row_groups(30, 4), row_groups(8, 4)
    replicates = projection_replicates(projections, group, 4, 0.3)

    def expected(part: Array) -> dict[str, float]:
        margins = [abs(value) / np.std(column) for column in part.T for value in column]
        return {
            "sign_margin_median": np.median(margins),
            "sign_margin_near_share": np.mean([m < 0.3 for m in margins]),
        }

    assert replicates.value == pytest.approx(expected(projections))
    for g in range(4):
        assert replicates.left_out[0][g] == pytest.approx(expected(projections[group != g]))
        assert replicates.left_out[1][g] == pytest.approx(expected(projections[:, directions != g]))


def test_coordinate_margins_equal_the_definition() -> None:
    vectors, group = np.random.RandomState(0).standard_normal((12, 5)), row_groups(12, 3)
    margins = np.array([[abs(x) / np.sqrt(np.mean(row**2)) for x in row] for row in vectors])
    np.testing.assert_allclose(coordinate_margins(vectors), margins)
    replicates = coordinate_replicates(vectors, group, 3, 0.4)
    for kept, found in [
        (group >= 0, replicates.value),
        *((group != g, replicates.left_out[0][g]) for g in range(3)),
    ]:
        assert found["coordinate_margin_median"] == pytest.approx(np.median(margins[kept]))
        assert found["coordinate_margin_near_share"] == pytest.approx(np.mean(margins[kept] < 0.4))


def test_isotropic_margins_are_half_normal() -> None:
    random = np.random.RandomState(0)
    vectors = random.standard_normal((1000, 64))
    projected = projection_margins(vectors @ random.standard_normal((64, 200)))
    for values in (
        margin_measures(projected, 0.5, "m"),
        margin_measures(coordinate_margins(vectors), 0.5, "m"),
    ):
        assert values["m_median"] == pytest.approx(HALF_NORMAL_MEDIAN, rel=0.03)
        assert values["m_near_share"] == pytest.approx(half_normal(0.5), rel=0.03)


def test_a_common_direction_moves_projections_off_zero() -> None:
    """w·x is then N(α w₁, 1) over the rows with w₁ ~ N(0, 1): an |N(0, 1 + α²)| in units of its spread."""
    random, alpha = np.random.RandomState(0), 3.0
    vectors = random.standard_normal((400, 100)) / 10
    vectors[:, 0] += alpha
    values = margin_measures(projection_margins(vectors @ random.standard_normal((100, 4000))), 0.5, "m")
    assert values["m_median"] == pytest.approx(HALF_NORMAL_MEDIAN * np.sqrt(1 + alpha**2), rel=0.05)
    assert values["m_near_share"] == pytest.approx(half_normal(0.5 / np.sqrt(1 + alpha**2)), rel=0.06)


def test_unscaled_margins_of_gaussian_projections_are_the_same_for_every_cloud() -> None:
    """Why they are no measure: w·x/‖x‖ is standard normal for each x, in any cloud."""
    random = np.random.RandomState(0)
    for alpha in (0.0, 3.0):
        vectors = random.standard_normal((50, 64)) / 8
        vectors[:, 0] += alpha
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        margins = np.abs(unit @ random.standard_normal((64, 20_000)))
        assert np.mean(margins < 0.5) == pytest.approx(half_normal(0.5), rel=0.03)


def test_projections_without_spread_are_left_out_and_none_left_is_undefined() -> None:
    projections = np.array([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]])
    np.testing.assert_allclose(projection_margins(projections)[:, 0], np.array([1, 2, 3]) / np.sqrt(2 / 3))
    assert projection_margins(projections).shape == (3, 1)
    nothing = margin_measures(projection_margins(projections[:, 1:]), 0.5, "m")
    assert np.isnan(list(nothing.values())).all()


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_medians_of_odd_and_even_counts(size: int) -> None:
    margins = np.random.RandomState(size).uniform(size=(size, 1))
    assert margin_measures(margins, 0.5, "m")["m_median"] == np.median(margins)
