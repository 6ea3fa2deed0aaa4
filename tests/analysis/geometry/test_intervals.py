"""The jackknife against textbook cases, and its coverage of the values that fresh samples give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from analysis.geometry.cell import GeometrySettings, measure
from analysis.geometry.intervals import Replicates, interval, jackknife_variance, row_groups
from analysis.geometry.measures import MEASURES
from tests.counts import count, full_counts

INF = float("inf")


def test_groups_differ_by_one_row_at_most() -> None:
    assert np.bincount(row_groups(23, 5)).tolist() == [5, 5, 5, 4, 4]


def test_the_variance_of_a_mean_of_single_rows_is_the_usual_one() -> None:
    values = np.random.RandomState(0).standard_normal(30)
    left_out = [float(np.delete(values, i).mean()) for i in range(30)]
    assert jackknife_variance(left_out) == pytest.approx(values.var(ddof=1) / 30)


def replicates(*sources: list[float], value: float = 1.0) -> Replicates:
    """Replicates of one measure named m."""
    return Replicates({"m": value}, tuple([{"m": v} for v in source] for source in sources))


def test_the_interval_is_the_value_and_a_student_quantile_of_added_variances() -> None:
    one, two = [1.0, 1.2, 0.9, 1.1], [1.0, 1.5, 1.5, 0.8]
    half = t.ppf(0.95, 3) * np.sqrt(jackknife_variance(one) + jackknife_variance(two))
    assert interval(replicates(one, two), "m", 0.9, -INF, INF) == pytest.approx((1 - half, 1 + half))


def test_intervals_stay_in_the_range_of_the_measure() -> None:
    assert interval(replicates([0.0, 2.0]), "m", 0.95, 0.25, 1.5) == (0.25, 1.5)


@pytest.mark.parametrize(("value", "left_out"), [(float("nan"), [1.0, 1.0]), (1.0, [1.0, float("nan")])])
def test_an_undefined_value_or_replicate_gives_an_undefined_interval(
    value: float, left_out: list[float]
) -> None:
    assert np.isnan(interval(replicates(left_out, value=value), "m", 0.95, -INF, INF)).all()


SETTINGS = GeometrySettings(
    sample=240,
    query_sample=160,
    seed=0,
    draws=20,
    confidence=0.95,
    hubness_k=5,
    mle_neighbours=10,
    twonn_discard=0.1,
    outlier_cut=3.0,
    projections=40,
    margin_near=0.1,
)


def cell(random: np.random.RandomState) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fresh documents and queries of one population: uneven spectrum, common direction, queries shifted."""
    scale = np.linspace(2, 0.5, 16)
    documents = random.standard_normal((SETTINGS.sample, 16)) * scale + 0.4
    queries = random.standard_normal((SETTINGS.query_sample, 16)) * scale + 0.6
    return documents.astype(np.float32), queries.astype(np.float32)


def test_intervals_cover_what_fresh_samples_give_on_average() -> None:
    """Coverage of the estimator's mean at this sample size, with fresh documents, queries and projections."""
    runs = count(full=400, quick=50)
    random = np.random.RandomState(0)
    estimates = []
    for seed in range(runs):
        documents, queries = cell(random)
        estimates.append(measure(documents, queries, replace(SETTINGS, seed=seed)))
    coverage, width = {}, {}
    for name in MEASURES:
        values, lows, highs = np.array(
            [[e[name].value, e[name].ci_low, e[name].ci_high] for e in estimates]
        ).T
        coverage[name] = np.mean((lows <= values.mean()) & (values.mean() <= highs))
        width[name] = np.mean(highs - lows) / (2 * t.ppf(0.975, SETTINGS.draws - 1) * values.std())
    # The share of outliers moves in steps of 1/d and is mostly 0 here: its average is no value it can take.
    for measures in (coverage, width):
        del measures["documents_outlier_dimensions"], measures["queries_outlier_dimensions"]
    assert min(coverage.values()) >= (0.9 if full_counts() else 0.84), coverage
    assert min(width.values()) >= 0.8, width
    # Delete-a-group errs on the wide side, most for neighbours: by less than a factor of two.
    assert max(width.values()) <= 2.2, width
    assert np.median(list(width.values())) <= 1.35, width
