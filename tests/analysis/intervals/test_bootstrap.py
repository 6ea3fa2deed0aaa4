"""Bootstrap intervals: laws of the draws, slow oracles, and coverage by simulation with fixed seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.intervals import bootstrap as intervals
from analysis.intervals.bootstrap import (
    bootstrap_means,
    difference_interval_with_seeds,
    mean_intervals,
    paired_difference_interval,
    ratio_interval,
    resample_weights,
    seed_spread,
)
from store.errors import InvalidInput
from tests.counts import count, full_counts


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def weights_of(n_queries: int, draws: int, seed: int) -> np.ndarray:
    return np.concatenate(list(resample_weights(n_queries, draws, seed)))


def recall_like(stream: np.random.RandomState, *shape: int) -> np.ndarray:
    return (stream.randint(0, 4, size=shape) / np.float32(3)).astype(np.float32)


# ---- draws ----


def test_draws_are_multinomial() -> None:
    weights = weights_of(40, 6000, 3)
    assert weights.shape == (6000, 40)
    assert (weights.sum(axis=1) == 40).all()
    # Multinomial: variance 1 − 1/n, covariance −1/n; standard errors are about 0.02.
    covariance = np.cov(weights.T)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(np.diag(covariance), 1 - 1 / 40, atol=0.12)
    assert abs(covariance[~np.eye(40, dtype=bool)].mean() + 1 / 40) < 0.005


def test_draws_are_those_of_the_seeded_stream() -> None:
    drawn = np.random.RandomState(7).randint(0, 6, size=(5, 6), dtype=np.int32)
    assert weights_of(6, 5, 7).tolist() == [np.bincount(row, minlength=6).tolist() for row in drawn]
    assert drawn[0].tolist() == [4, 1, 3, 3, 4, 1]


def test_block_size_changes_nothing_and_bounds_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weights_of(30, 100, 1)
    monkeypatch.setattr(intervals, "BLOCK_ENTRIES", 30 * 7)
    assert max(len(block) for block in resample_weights(30, 100, 1)) == 7
    assert (weights_of(30, 100, 1) == whole).all()
    monkeypatch.setattr(intervals, "BLOCK_ENTRIES", 1)
    assert (weights_of(30, 100, 1) == whole).all()


# ---- intervals against slow oracles ----


def test_intervals_do_not_depend_on_the_blocks_that_they_are_computed_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.RandomState(0).uniform(size=(7, 3, 40)).astype(np.float32)
    values *= np.float32(2.0) ** -np.arange(7, dtype=np.float32)[:, None, None]
    whole = mean_intervals(values, 200, 1, 0.9)
    monkeypatch.setattr("analysis.intervals.bootstrap.MEANS_ENTRIES", 5 * 200)
    for one, other in zip(whole, mean_intervals(values, 200, 1, 0.9), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_mean_intervals_are_order_statistics_of_resampled_means(
    n_queries: int, seed: int, confidence: float
) -> None:
    draws = 199
    values = np.random.RandomState(n_queries).rand(3, n_queries).astype(np.float32)
    result = mean_intervals(values, draws, seed, confidence)
    picks = np.random.RandomState(seed).randint(0, n_queries, size=(draws, n_queries), dtype=np.int32)
    # The k-th smallest of 199 draws estimates the k ÷ 200 quantile.
    rank = round(200 * (1 - confidence) / 2)
    for row, mean, low, high in zip(values, *result, strict=True):
        ordered = np.sort([row[pick].astype(np.float64).mean() for pick in picks])
        np.testing.assert_allclose((low, high), (ordered[rank - 1], ordered[-rank]), rtol=1e-12)
        np.testing.assert_allclose(mean, row.astype(np.float64).mean(), rtol=1e-12)


def test_leading_axes_are_configurations_with_the_same_draws() -> None:
    values = recall_like(np.random.RandomState(0), 2, 3, 50)
    together = mean_intervals(values, 500, 4, 0.95)
    alone = mean_intervals(values[1, 2], 500, 4, 0.95)
    assert together.low.shape == (2, 3)
    assert (together.mean[1, 2], together.low[1, 2], together.high[1, 2]) == tuple(alone)


def test_sums_are_exact_in_any_order() -> None:
    stream = np.random.RandomState(5)
    values = stream.rand(4, 333) * 10.0 ** -stream.randint(0, 6, size=(4, 333))
    shuffle = stream.permutation(333)
    weights = weights_of(333, 300, 9)
    grid = intervals._on_grid(values)
    np.testing.assert_allclose(grid, values, atol=1e-12, rtol=0)
    assert (weights @ grid.T == weights[:, shuffle] @ grid[:, shuffle].T).all()
    slow = np.array([[float(np.sum(w * v)) / 333 for w in weights] for v in grid])
    assert (bootstrap_means(values, 300, 9) == slow).all()
    assert not (weights @ values.T == weights[:, shuffle] @ values[:, shuffle].T).all()


def test_intervals_do_not_depend_on_threads_or_kernels() -> None:
    program = (
        "import numpy as np, hashlib\n"
        "from analysis.intervals.bootstrap import mean_intervals\n"
        "v = np.random.RandomState(0).rand(7, 501).astype(np.float32)\n"
        "print(hashlib.sha256(np.stack(mean_intervals(v, 999, 1, .95)).tobytes()).hexdigest())"
    )
    settings_of = [
        {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Haswell"},
        {"OPENBLAS_NUM_THREADS": "1", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
        {},
    ]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for extra in settings_of
    }
    assert len(digests) == 1


# ---- differences ----


def test_paired_difference_is_the_interval_of_differences() -> None:
    stream = np.random.RandomState(1)
    a, b = recall_like(stream, 2, 80), recall_like(stream, 2, 80)
    result = paired_difference_interval(a, b, 999, 3, 0.9)
    plain = mean_intervals(a.astype(np.float64) - b, 999, 3, 0.9)
    np.testing.assert_allclose(result[:3], plain, atol=2.0**-22)
    separate = bootstrap_means(a, 999, 3) - bootstrap_means(b, 999, 3)
    np.testing.assert_allclose(result.low, np.sort(separate)[:, 49], atol=2.0**-22)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([-1, 0, 0, 0, 1, 1]), min_size=2, max_size=40),
    st.integers(0, 1000),
    st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_p_value_and_interval_never_contradict_each_other(
    steps: list[int], seed: int, confidence: float
) -> None:
    a = (np.array(steps) == 1).astype(np.float32)
    b = (np.array(steps) == -1).astype(np.float32)
    result = paired_difference_interval(a, b, 999, seed, confidence)
    assert (result.low > 0 or result.high < 0) == (result.p_value <= 1 - confidence + 1e-12)
    swapped = paired_difference_interval(b, a, 999, seed, confidence)
    assert (swapped.low, swapped.high, swapped.p_value) == (-result.high, -result.low, result.p_value)


def test_p_values_of_known_cases() -> None:
    zeros, ones = np.zeros(50, np.float32), np.ones(50, np.float32)
    np.testing.assert_array_equal(paired_difference_interval(ones, zeros, 999, 0, 0.95), (1, 1, 1, 2 / 1000))
    np.testing.assert_array_equal(paired_difference_interval(ones, ones, 999, 0, 0.95), (0, 0, 0, 1))
    # A difference of 2 standard errors: the normal p-value is 0.0455.
    noise = np.random.RandomState(0).randn(400)
    shifted = (noise - noise.mean()) / noise.std() + 2 / 20
    assert abs(paired_difference_interval(shifted, 0 * shifted, 20_000, 0, 0.95).p_value - 0.0455) < 0.008


def test_cancelling_float32_differences_count_as_zero() -> None:
    # −0.2 and +0.2 made of float32 values do not cancel exactly; draws with equally many must still be 0.
    a = f32(*[0.2, 0.8] * 10)
    b = f32(*[0.4, 0.6] * 10)
    exact = f32(*[-1, 1] * 10)
    ours = paired_difference_interval(a, b, 999, 2, 0.95)
    assert ours.p_value == paired_difference_interval(exact, 0 * exact, 999, 2, 0.95).p_value
    assert ours.p_value == 1
    assert np.subtract(a, b, dtype=np.float64).sum() != 0


def test_seeds_that_agree_leave_the_paired_interval() -> None:
    stream = np.random.RandomState(2)
    a, b = recall_like(stream, 120), recall_like(stream, 120)
    plain = paired_difference_interval(a, b, 999, 5, 0.95)
    for seeds_a, seeds_b in ((5, 3), (1, 1), (1, 3)):
        copies = difference_interval_with_seeds(
            np.stack([a] * seeds_a), np.stack([b] * seeds_b), 999, 5, 0.95
        )
        np.testing.assert_allclose(copies, plain, atol=1e-12)


def test_seed_variance_is_that_of_the_seeds_own_effect() -> None:
    stream = np.random.RandomState(3)
    effects = 0.1 * stream.randn(4000, 4, 1)
    by_query = 0.5 * stream.randn(4000, 1, 60) + 0.4 * stream.randn(4000, 4, 60)
    # (variance of an effect) ÷ seeds = 0.0025; truncation at 0 hardly matters at this size.
    assert abs(intervals._seed_variance(effects + by_query).mean() - 0.0025) < 0.0001
    # Without effects of their own, half of the estimates are 0 and the rest small.
    without = intervals._seed_variance(by_query)
    assert 0.4 < (without == 0).mean() < 0.7
    assert without.mean() < 0.0004


def test_seed_effects_widen_the_interval_as_predicted() -> None:
    stream = np.random.RandomState(4)
    a = 0.3 * stream.randn(30, 400) + 0.1 * stream.randn(30, 1)
    b = 0.3 * stream.randn(1, 400)
    result = difference_interval_with_seeds(a, b, 20_000, 1, 0.95)
    queries = paired_difference_interval(a.mean(axis=0), b[0], 20_000, 1, 0.95)
    from scipy.stats import t

    of_queries = (queries.high - queries.low) / 2 / 1.96
    of_seeds = np.sqrt(intervals._seed_variance(a))
    total = np.hypot(of_queries, of_seeds)
    freedom = total**4 / (of_seeds**4 / 29)
    assert abs((result.high - result.low) / 2 / (t.ppf(0.975, freedom) * total) - 1) < 0.04
    assert of_seeds > 0.5 * of_queries


def test_mean_squares_are_those_of_the_two_way_analysis_of_variance() -> None:
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    values = np.random.RandomState(8).rand(4, 9)
    seed, query = np.indices(values.shape)
    frame = pd.DataFrame({"value": values.ravel(), "seed": seed.ravel(), "query": query.ravel()})
    table = anova_lm(ols("value ~ C(seed) + C(query)", frame).fit())
    expected = (table["mean_sq"]["C(seed)"], table["mean_sq"]["Residual"])
    np.testing.assert_allclose(intervals.seed_mean_squares(values), expected)
    np.testing.assert_array_equal(intervals.seed_mean_squares(values[:1]), (0, 0))


def test_given_seed_effects_replace_the_estimated_ones() -> None:
    stream = np.random.RandomState(9)
    a, b = 0.3 * stream.randn(5, 200) + 0.2 * stream.randn(5, 1), 0.3 * stream.randn(3, 200)
    own = intervals.seed_effects(a, b)
    assert own.variance > 0
    plain = difference_interval_with_seeds(a, b, 999, 1, 0.95)
    assert difference_interval_with_seeds(a, b, 999, 1, 0.95, own) == plain
    none = intervals.SeedEffects(np.zeros(()), np.zeros(()))
    queries = paired_difference_interval(a.mean(axis=0), b.mean(axis=0), 999, 1, 0.95)
    np.testing.assert_allclose(difference_interval_with_seeds(a, b, 999, 1, 0.95, none), queries, atol=1e-12)
    wide = intervals.SeedEffects(4 * own.variance, 16 * own.doubt)
    wider = difference_interval_with_seeds(a, b, 999, 1, 0.95, wide)
    assert wider.high - wider.low > 1.5 * (plain.high - plain.low)


def test_configurations_do_not_influence_each_other() -> None:
    stream = np.random.RandomState(6)
    a = recall_like(stream, 3, 5, 60) + 0.2 * stream.rand(3, 5, 1).astype(np.float32)
    b = recall_like(stream, 3, 2, 60)
    together = difference_interval_with_seeds(a, b, 300, 8, 0.9)
    alone = difference_interval_with_seeds(a[2], b[2], 300, 8, 0.9)
    np.testing.assert_allclose([part[2] for part in together], alone, rtol=1e-12, atol=1e-15)


def test_seed_spread() -> None:
    values = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], np.float32)
    np.testing.assert_allclose(seed_spread(values), np.std([2 / 3, 1 / 3, 1], ddof=1))
    assert np.isnan(seed_spread(values[:1]))
    np.testing.assert_allclose(seed_spread(np.stack([values, 2 * values])), [1 / 3, 2 / 3], rtol=1e-6)


# ---- ratios ----


def test_ratio_interval_uses_the_same_draws_for_both() -> None:
    stream = np.random.RandomState(7)
    denominator = 0.5 + recall_like(stream, 60)
    half = ratio_interval(denominator / 2, denominator, 500, 1, 0.95)
    np.testing.assert_allclose(half, (0.5, 0.5, 0.5), rtol=1e-12)
    numerator = recall_like(stream, 60)
    result = ratio_interval(numerator, denominator, 199, 1, 0.95)
    weights = weights_of(60, 199, 1)
    ordered = np.sort((weights @ numerator) / (weights @ denominator))
    np.testing.assert_allclose((result.low, result.high), (ordered[4], ordered[-5]), rtol=1e-6)
    np.testing.assert_allclose(result.mean, numerator.mean() / denominator.mean(), rtol=1e-6)


def test_ratio_is_undefined_where_the_denominator_reaches_zero() -> None:
    one_hit = f32(1, *[0] * 19)
    sound = np.ones(20, np.float32)
    mixed = f32(*[1, -0.9] * 10)
    result = ratio_interval(
        np.stack([sound] * 5), np.stack([sound, one_hit, 0 * sound, mixed, -sound]), 200, 0, 0.95
    )
    np.testing.assert_allclose(result.mean, [1, 20, np.nan, 20, -1], rtol=1e-5)
    np.testing.assert_allclose(result.low, [1, np.nan, np.nan, np.nan, -1])
    np.testing.assert_allclose(result.high, [1, np.nan, np.nan, np.nan, -1])


# ---- coverage by simulation ----

DRAWS = 2000
GROUP = 250


def slack(rate: float, runs: int) -> float:
    """Three binomial standard errors for the reduced runs; the full number is held to the bare limits."""
    return 0.0 if full_counts() else 3 * float(np.sqrt(rate * (1 - rate) / runs))


def simulated(
    make: Callable[[np.random.RandomState], tuple[np.ndarray, ...]],
) -> Iterator[tuple[tuple[np.ndarray, ...], int]]:
    """Groups of simulated studies, each with a bootstrap seed; the studies of a group share the draws."""
    for group in range(count(full=5000, quick=500) // GROUP):
        yield make(np.random.RandomState(10_000 + group)), group


def check_coverage(covered: list[np.ndarray]) -> None:
    hits = np.concatenate(covered)
    assert len(hits) == count(full=5000, quick=500)
    assert 0.93 - slack(0.93, len(hits)) <= hits.mean() <= 0.97 + slack(0.97, len(hits))


def check_false_positives(p_values: list[np.ndarray]) -> None:
    below = np.concatenate(p_values) <= 0.05
    assert below.mean() <= 0.06 + slack(0.06, len(below))


@pytest.mark.parametrize("n_queries", [300, 1000])
@pytest.mark.parametrize("recall", [0.2, 0.5, 0.78, 0.9])
def test_coverage_of_a_recall_of_zeros_and_ones(n_queries: int, recall: float) -> None:
    covered = []
    for (values,), seed in simulated(lambda s: ((s.rand(GROUP, n_queries) < recall).astype(np.float32),)):
        result = mean_intervals(values, DRAWS, seed, 0.95)
        covered.append((result.low <= recall) & (recall <= result.high))
    check_coverage(covered)


@pytest.mark.parametrize("n_queries", [300, 1000])
def test_coverage_of_means_over_five_seeds(n_queries: int) -> None:
    def make(stream: np.random.RandomState) -> tuple[np.ndarray]:
        difficulty = stream.beta(0.5, 0.3, size=(GROUP, n_queries))
        return ((stream.binomial(5, difficulty) / 5).astype(np.float32),)

    covered = []
    for (values,), seed in simulated(make):
        result = mean_intervals(values, DRAWS, seed, 0.95)
        covered.append((result.low <= 0.625) & (result.high >= 0.625))
    check_coverage(covered)


@pytest.mark.parametrize("n_queries", [300, 1000])
@pytest.mark.parametrize(
    ("gained", "lost"), [(0.01, 0.01), (0.025, 0.025), (0.05, 0.05), (0.15, 0.15), (0.08, 0.04)]
)
def test_coverage_and_false_positives_of_paired_differences(
    n_queries: int, gained: float, lost: float
) -> None:
    def make(stream: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        fate = stream.rand(GROUP, n_queries)
        both = stream.rand(GROUP, n_queries) < 0.5
        a = np.where(fate < gained, True, np.where(fate < gained + lost, False, both))
        b = np.where(fate < gained, False, np.where(fate < gained + lost, True, both))
        return a.astype(np.float32), b.astype(np.float32)

    covered, p_values = [], []
    for (a, b), seed in simulated(make):
        result = paired_difference_interval(a, b, DRAWS, seed, 0.95)
        covered.append((result.low <= gained - lost) & (gained - lost <= result.high))
        p_values.append(result.p_value)
    check_coverage(covered)
    if gained == lost:
        check_false_positives(p_values)


@pytest.mark.parametrize(("effect_a", "effect_b"), [(0.0, 0.0), (0.01, 0.003), (0.02, 0.01)])
@pytest.mark.parametrize("agreement", [0.0, 0.9])
def test_coverage_and_false_positives_with_seeds(effect_a: float, effect_b: float, agreement: float) -> None:
    """Five seeds against three; seeds of one codec agree on a query with the given share beyond chance."""
    n_queries = 300

    def make(stream: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        difficulty = np.clip(stream.beta(0.5, 0.3, size=(GROUP, 1, n_queries)), 0.05, 0.95)

        def codec(seeds: int, effect: float) -> np.ndarray:
            shape = (GROUP, seeds, n_queries)
            shared = stream.rand(GROUP, 1, n_queries) < difficulty
            found = np.where(stream.rand(*shape) < agreement, shared, stream.rand(*shape) < difficulty)
            return (found + effect * stream.randn(GROUP, seeds, 1)).astype(np.float32)

        return codec(5, effect_a), codec(3, effect_b)

    covered, p_values = [], []
    for (a, b), seed in simulated(make):
        result = difference_interval_with_seeds(a, b, DRAWS, seed, 0.95)
        covered.append((result.low <= 0) & (result.high >= 0))
        p_values.append(result.p_value)
    check_coverage(covered)
    check_false_positives(p_values)


@pytest.mark.parametrize("n_queries", [300, 1000])
def test_coverage_of_retention(n_queries: int) -> None:
    def make(stream: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        exact = stream.rand(GROUP, n_queries) < 0.8
        kept = stream.rand(GROUP, n_queries) < np.where(exact, 0.85, 0.1)
        return kept.astype(np.float32), exact.astype(np.float32)

    retention = (0.8 * 0.85 + 0.2 * 0.1) / 0.8
    covered = []
    for (kept, exact), seed in simulated(make):
        result = ratio_interval(kept, exact, DRAWS, seed, 0.95)
        covered.append((result.low <= retention) & (retention <= result.high))
    check_coverage(covered)


# ---- bad input ----

ROW = f32(0, 1, 1, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mean_intervals(ROW[:1], 100, 0, 0.9),
            "values: an interval over queries needs at least 2 queries, got 1",
        ),
        (lambda: mean_intervals(ROW / ROW, 100, 0, 0.9), "values: some are NaN or infinite"),
        (lambda: mean_intervals(ROW, 100, 0, 95), "confidence: expected a share between 0 and 1, got 95"),
        (lambda: mean_intervals(ROW, 38, 0, 0.95), "draws: 38 are too few for confidence 0.95"),
        (lambda: paired_difference_interval(ROW, ROW[:3], 100, 0, 0.9), r"a, b: .* got \(4,\) and \(3,\)"),
        (lambda: difference_interval_with_seeds(ROW, ROW, 100, 0, 0.9), r"expected \(\.\.\., seed, query\)"),
        (
            lambda: difference_interval_with_seeds(ROW[None], ROW[None, :3], 100, 0, 0.9),
            r"on the same queries, got \(1, 4\) and \(1, 3\)",
        ),
        (
            lambda: ratio_interval(ROW, ROW[:3], 100, 0, 0.9),
            r"numerator, denominator: .* got \(4,\) and \(3,\)",
        ),
        (lambda: seed_spread(ROW), r"values: expected \(\.\.\., seed, query\), got shape \(4,\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")
def test_bad_input_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def test_the_fewest_draws_that_a_confidence_allows() -> None:
    result = mean_intervals(ROW, 39, 0, 0.95)
    means = bootstrap_means(ROW, 39, 0)
    assert (result.low, result.high) == (means.min(), means.max())
