from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import fractional_matrix_power
from scipy.stats import t as student
from statsmodels.regression.linear_model import OLS

from analysis.relation.regression import WildWeights, cr2_parts, ols_cr2, wild_p, wild_weights
from tests.counts import count

Array = NDArray[np.float64]
NINE = np.repeat(np.arange(9), 4)


def case(seed: int, sizes: list[int]) -> tuple[Array, Array, NDArray[np.int64]]:
    """Target, design (constant, feature, covariate) and cluster numbers."""
    random = np.random.RandomState(seed)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    n = len(clusters)
    feature = random.standard_normal(len(sizes))[clusters] + 0.3 * random.standard_normal(n)
    design = np.column_stack([np.ones(n), feature, random.standard_normal(n)])
    return 0.4 * feature + random.standard_normal(n), design, clusters


def cr2_oracle(x: Array, clusters: NDArray[np.int64], column: int) -> tuple[Array, float]:
    """Rows (G, n) whose products with the residuals, squared, sum to the variance; degrees of freedom.

    Written out with full matrices and SciPy's matrix power.
    """
    n = len(x)
    hat = x @ np.linalg.solve(x.T @ x, x.T)
    c = np.linalg.solve(x.T @ x, np.eye(x.shape[1])[column])
    rows = []
    for g in np.unique(clusters):
        pick = np.eye(n)[clusters == g]
        adjust = fractional_matrix_power(pick @ (np.eye(n) - hat) @ pick.T, -0.5).real
        rows.append(c @ x.T @ pick.T @ adjust @ pick)
    vectors = np.array(rows) @ (np.eye(n) - hat)
    eigenvalues = np.linalg.eigvalsh(vectors @ vectors.T)
    return np.array(rows), float(eigenvalues.sum() ** 2 / np.sum(eigenvalues**2))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 5), min_size=6, max_size=10))
def test_cr2_is_the_formula(seed: int, sizes: list[int]) -> None:
    y, x, clusters = case(seed, sizes)
    rows, df = cr2_oracle(x, clusters, 1)
    slope = ols_cr2(y, x, clusters, 1, 0.9)
    fit = OLS(y, x).fit()
    error = float(np.linalg.norm(rows @ fit.resid))
    assert slope.value == pytest.approx(fit.params[1])
    assert slope.error == pytest.approx(error, rel=1e-6)
    assert slope.df == pytest.approx(df, rel=1e-6)
    assert slope.p_value == pytest.approx(2 * student.sf(abs(fit.params[1] / error), df), rel=1e-5)
    assert slope.high - slope.low == pytest.approx(2 * student.ppf(0.95, df) * error, rel=1e-5)
    assert (slope.low + slope.high) / 2 == pytest.approx(slope.value)


def test_clusters_of_one_give_hc2() -> None:
    y, x, clusters = case(3, [1] * 25)
    for column in range(3):
        assert ols_cr2(y, x, clusters, column, 0.95).error == pytest.approx(OLS(y, x).fit().HC2_se[column])


def test_published_degrees_of_freedom() -> None:
    """Imbens & Kolesár 2016: 3 treated of 30 leave 2.5 degrees of freedom to HC2; equal groups 28."""
    for treated, expected in ((3, 2.47), (15, 28.0)):
        x = np.column_stack([np.ones(30), np.arange(30) < treated])
        a, b = treated, 30 - treated
        formula = 30**2 * (a - 1) * (b - 1) / (a**2 * (a - 1) + b**2 * (b - 1))
        _, covariance = cr2_parts(x, np.arange(30), np.array([0.0, 1.0]))
        df = np.trace(covariance) ** 2 / np.sum(covariance**2)
        assert df == pytest.approx(formula)
        assert df == pytest.approx(expected, abs=0.005)


def test_balanced_clusters_are_hc2_of_their_means() -> None:
    random = np.random.RandomState(5)
    means = np.column_stack([np.ones(9), random.standard_normal(9)])
    y = np.repeat(means @ [1, 2] + random.standard_normal(9), 4) + random.standard_normal(36)
    covariate = np.tile([-1.5, -0.5, 0.5, 1.5], 9)
    slope = ols_cr2(y, np.column_stack([means[NINE], covariate]), NINE, 1, 0.95)
    fit = OLS(y.reshape(9, 4).mean(axis=1), means).fit()
    assert slope.value == pytest.approx(fit.params[1])
    assert slope.error == pytest.approx(fit.HC2_se[1])


def test_a_cluster_with_leverage_one_is_survived() -> None:
    random = np.random.RandomState(0)
    design = np.column_stack([np.ones(36), NINE == 4])
    slope = ols_cr2(random.standard_normal(36), design, NINE, 1, 0.95)
    assert np.isfinite(slope.value)
    assert np.isfinite(slope.error)
    assert np.isfinite(slope.df)


def test_an_exact_fit_has_no_error() -> None:
    _, x, _ = case(1, [4] * 9)
    slope = ols_cr2(x @ [1.0, 2.0, 3.0], x, NINE, 1, 0.95)
    assert slope.value == pytest.approx(2)
    assert np.isnan([slope.error, slope.df, slope.p_value, slope.low, slope.high]).all()
    assert slope.note == "the fit is exact: no error to test against"


def brute_force_wild(y: Array, x: Array, clusters: NDArray[np.int64], points: Array) -> float:
    """Refit the full model on every reweighted target."""

    rows, _ = cr2_oracle(x, clusters, 1)

    def t_value(target: Array) -> float:
        fit = OLS(target, x).fit()
        return abs(float(fit.params[1])) / float(np.linalg.norm(rows @ fit.resid))

    rest = OLS(y, x[:, [0, 2]]).fit()
    observed = t_value(y)
    drawn = [
        t_value(rest.fittedvalues + np.array(w)[clusters] * rest.resid)
        for w in product(points, repeat=int(clusters.max()) + 1)
    ]
    return float(np.mean(np.array(drawn) >= observed * (1 - 1e-9)))


@pytest.mark.parametrize(("seed", "sizes"), [(0, [4] * 5), (1, [2, 3, 4, 2, 5])])
def test_enumerated_rademacher_is_brute_force(seed: int, sizes: list[int]) -> None:
    y, x, clusters = case(seed, sizes)
    weights = wild_weights(len(sizes), "rademacher", 9, 0)
    assert weights.exact
    assert weights.table.shape == (2 ** len(sizes), len(sizes))
    assert wild_p(y, x, clusters, 1, weights) == brute_force_wild(y, x, clusters, np.array([-1.0, 1.0]))


def test_enumerated_webb_is_brute_force() -> None:
    y, x, clusters = case(7, [4] * 3)
    points = np.sqrt([0.5, 1, 1.5])
    points = np.concatenate([-points, points])
    weights = wild_weights(3, "webb", 9, 0)
    assert weights.exact
    assert len(weights.table) == 6**3
    assert wild_p(y, x, clusters, 1, weights) == brute_force_wild(y, x, clusters, points)


def test_nine_clusters_are_enumerated_and_thirteen_drawn() -> None:
    nine = wild_weights(9, "rademacher", 99, 0)
    assert nine.exact
    assert len(np.unique(nine.table, axis=0)) == 512
    drawn = wild_weights(13, "rademacher", 99, 3)
    assert not drawn.exact
    assert drawn.table.shape == (99, 13)
    assert set(np.unique(drawn.table)) == {-1.0, 1.0}
    assert (drawn.table == wild_weights(13, "rademacher", 99, 3).table).all()
    assert (drawn.table != wild_weights(13, "rademacher", 99, 4).table).any()
    webb = wild_weights(9, "webb", 5000, 0).table
    assert webb.mean() == pytest.approx(0, abs=5 / np.sqrt(webb.size))
    assert np.mean(webb**2) == pytest.approx(1, abs=0.02)


def test_drawn_weights_count_the_observed_and_approach_the_exact() -> None:
    y, x, clusters = case(4, [4] * 9)
    exact = wild_p(y, x, clusters, 1, wild_weights(9, "rademacher", 1, 0))
    random = np.random.RandomState(0)
    drawn = WildWeights(np.where(random.random_sample((4000, 9)) < 0.5, -1.0, 1.0), exact=False)
    assert wild_p(y, x, clusters, 1, drawn) == pytest.approx(exact, abs=5 * np.sqrt(0.25 / 4000))
    strong = x @ [0.0, 1.0, 0.0] + 0.01 * y
    off = -np.ones((99, 9))
    off[:, 0] = 1  # neither all kept nor all flipped, which would repeat the observed t
    assert wild_p(strong, x, clusters, 1, WildWeights(off, exact=False)) == 1 / 100


def test_wild_p_is_nan_without_restricted_error() -> None:
    _, x, clusters = case(2, [4] * 9)
    assert np.isnan(wild_p(x @ [1.0, 0.0, 2.0], x, clusters, 1, wild_weights(9, "rademacher", 1, 0)))


def test_nulls_are_rejected_at_their_level_and_a_planted_slope_is_found() -> None:
    runs = count(full=2000, quick=200)
    random = np.random.RandomState(8)
    weights = wild_weights(9, "rademacher", 1, 0)
    covariate = np.tile([-1.5, -0.5, 0.5, 1.5], 9)
    p = np.empty((3, runs))
    for i in range(runs):
        x = np.column_stack([np.ones(36), random.standard_normal(9)[NINE], covariate])
        y = covariate + random.standard_normal(9)[NINE] + 0.3 * random.standard_normal(36)
        p[0, i] = ols_cr2(y, x, NINE, 1, 0.95).p_value
        p[1, i] = wild_p(y, x, NINE, 1, weights)
        p[2, i] = wild_p(x[:, 1] + 0.05 * y, x, NINE, 1, weights)
    bound = 0.06 + 3 * np.sqrt(0.06 * 0.94 / runs)
    assert np.mean(p[0] <= 0.05) <= bound
    assert np.mean(p[1] <= 0.05) <= bound
    assert np.mean(p[2] <= 0.05) > 0.95
