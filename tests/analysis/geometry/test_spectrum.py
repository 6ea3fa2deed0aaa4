"""Moments, spectrum and single dimensions against literal formulae and against known shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.geometry.intervals import row_groups
from analysis.geometry.spectrum import (
    Moments,
    coordinate_measures,
    cosine_measures,
    effective_rank,
    isoscore,
    moment_replicates,
    participation_ratio,
    unit_rows,
)
from tests.oracles import geometry as oracle

Array = NDArray[np.float64]


def cloud(seed: int, n: int, d: int, push: float = 0.5) -> Array:
    """A Gaussian cloud with uneven dimensions and a common direction."""
    random = np.random.RandomState(seed)
    scale = np.exp(random.standard_normal(d))
    return np.asarray((random.standard_normal((n, d)) + push * random.standard_normal(d)) * scale, np.float64)


def values_of(vectors: Array, cut: float = 2.0) -> dict[str, float]:
    """The measures of a cloud, without their replicates."""
    return dict(moment_replicates(vectors, row_groups(len(vectors), 2), 2, cut).value)


@given(st.integers(0, 10_000), st.integers(6, 20), st.integers(2, 9))
def test_every_measure_equals_its_literal_formula(seed: int, n: int, d: int) -> None:
    vectors = cloud(seed, n, d)
    cosines = oracle.pair_cosines(vectors)
    variances = vectors.var(axis=0)
    expected = {
        "mean_cosine": cosines.mean(),
        "angular_spread": cosines.std(),
        "top_dimension_cosine": oracle.top_dimension_cosine(vectors),
        "isoscore": oracle.isoscore(vectors),
        "partition_score": oracle.partition_score(vectors),
        "effective_rank": oracle.effective_rank(vectors),
        "participation_ratio": oracle.participation_ratio(vectors),
        "outlier_dimensions": oracle.outlier_dimensions(vectors, 2.0),
        "top_dimension_variance_share": variances.max() / variances.sum(),
        "variance_heterogeneity": variances.std() / variances.mean(),
    }
    assert values_of(vectors) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(st.integers(0, 10_000))
def test_a_left_out_group_is_as_if_it_had_never_been_there(seed: int) -> None:
    vectors, group = cloud(seed, 23, 6), row_groups(23, 4)
    replicates = moment_replicates(vectors, group, 4, 2.0).left_out[0]
    for g, left_out in enumerate(replicates):
        alone = values_of(vectors[group != g])
        # The partition score alone keeps the directions of the whole sample.
        for name in set(alone) - {"partition_score"}:
            assert left_out[name] == pytest.approx(alone[name], rel=1e-7, abs=1e-7), name


def test_left_out_partition_functions_lose_exactly_the_rows_of_the_group() -> None:
    vectors, group = cloud(1, 30, 5), row_groups(30, 3)
    axes = np.linalg.svd(vectors)[2]
    for g, left_out in enumerate(moment_replicates(vectors, group, 3, 2.0).left_out[0]):
        z = np.exp(np.vstack([axes, -axes]) @ vectors[group != g].T).sum(axis=1)
        assert left_out["partition_score"] == pytest.approx(z.min() / z.max(), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 5, 12])
def test_variance_spread_evenly_over_a_subspace(rank: int) -> None:
    """Rudman 2022: uniform use of r of d dimensions scores (r − 1)/(d − 1); both ranks are r."""
    d = 12
    axes = np.linalg.qr(np.random.RandomState(0).standard_normal((d, d)))[0][:rank]
    values = values_of(np.tile(np.vstack([axes, -axes]), (2, 1)) + 3.0)
    assert values["isoscore"] == pytest.approx((rank - 1) / (d - 1), abs=1e-9)
    assert values["effective_rank"] == pytest.approx(rank, rel=1e-6)
    assert values["participation_ratio"] == pytest.approx(rank, rel=1e-9)


def test_isotropic_cloud() -> None:
    d, n = 24, 20_000
    values = values_of(np.random.RandomState(0).standard_normal((n, d)) / np.sqrt(d), cut=4.0)
    assert values["isoscore"] == pytest.approx(1.0, abs=0.01)
    assert values["partition_score"] == pytest.approx(1.0, abs=0.02)
    assert values["effective_rank"] == pytest.approx(d, rel=0.01)
    assert values["mean_cosine"] == pytest.approx(0.0, abs=0.001)
    assert values["angular_spread"] == pytest.approx(1 / np.sqrt(d), rel=0.01)
    assert values["variance_heterogeneity"] < 0.02
    assert values["outlier_dimensions"] == 0.0


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_a_common_direction_raises_the_mean_cosine_to_its_known_value(alpha: float) -> None:
    d = 400
    vectors = np.random.RandomState(0).standard_normal((1500, d))
    vectors[:, 0] += alpha * np.sqrt(d)
    values = values_of(vectors)
    assert values["mean_cosine"] == pytest.approx(alpha**2 / (1 + alpha**2), abs=0.005)
    assert values["top_dimension_cosine"] == pytest.approx(values["mean_cosine"], abs=0.002)
    # Along the direction and against it the partition functions differ by exp(2 × mean projection).
    units = values_of(unit_rows(vectors))
    assert units["partition_score"] == pytest.approx(np.exp(-2 * alpha / np.sqrt(1 + alpha**2)), rel=0.02)


def test_a_scaled_dimension_holds_its_known_share() -> None:
    d, beta = 50, 10.0
    vectors = np.random.RandomState(0).standard_normal((20_000, d))
    vectors[:, 7] *= beta
    values = values_of(vectors, cut=5.0)
    assert values["top_dimension_variance_share"] == pytest.approx(beta**2 / (beta**2 + d - 1), abs=0.01)
    assert values["outlier_dimensions"] == pytest.approx(1 / d)
    expected = (beta**2 - 1) * np.sqrt(d - 1) / (beta**2 + d - 1)
    assert values["variance_heterogeneity"] == pytest.approx(expected, rel=0.02)


def test_isoscore_is_the_rescaled_participation_ratio() -> None:
    eigenvalues = np.random.RandomState(3).exponential(size=30)
    assert isoscore(eigenvalues) == pytest.approx((participation_ratio(eigenvalues) - 1) / 29)


def test_a_mean_beyond_the_cut_makes_an_outlier_and_a_mean_within_does_not() -> None:
    variances, means = np.ones(100), np.zeros(100)
    means[4] = 1.0  # 9.95 standard deviations away
    assert coordinate_measures(means, variances, 9.9)["outlier_dimensions"] == 0.01
    assert coordinate_measures(means, variances, 10.0)["outlier_dimensions"] == 0.0


def test_equal_dimensions_have_no_outliers_whatever_rounding_does() -> None:
    means = np.full(64, 0.1) + np.where(np.arange(64) == 3, 1e-17, 0.0)
    means[5] = np.nextafter(0.1, 1)
    assert coordinate_measures(means, np.full(64, 0.2), 3.0)["outlier_dimensions"] == 0.0


def test_no_variance_is_undefined() -> None:
    zero = np.zeros(5)
    assert np.isnan([isoscore(zero), participation_ratio(zero), effective_rank(zero)]).all()
    measures = coordinate_measures(zero, zero, 3.0)
    assert np.isnan(measures["variance_heterogeneity"])
    assert np.isnan(measures["top_dimension_variance_share"])
    assert measures["outlier_dimensions"] == 0.0


def test_large_values_do_not_overflow_the_partition_function() -> None:
    values = values_of(cloud(0, 30, 4) * 1e4)
    assert 0.0 <= values["partition_score"] <= 1.0


def test_opposite_rows_have_mean_cosine_minus_one() -> None:
    moments = Moments.of(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert cosine_measures(moments)["mean_cosine"] == -1.0
