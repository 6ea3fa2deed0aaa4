"""Paired bootstrap over queries: percentile intervals, differences with p-values, ratios, spread over seeds.

One seeded stream of query draws serves every configuration of a cell, so that any two configurations use
the same draws. The draws depend on (number of queries, draws, seed) alone, so separate calls are paired as
well. Sums of draws are exact (see `bootstrap_means`), so they do not depend on threads, BLAS or block
size. Source: Efron & Tibshirani 1993, chapters 13 and 15. Definitions and choices: docs/quality.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

Floats = NDArray[np.float64]
FloatInput = NDArray[np.float32] | NDArray[np.float64]

BLOCK_ENTRIES = 1 << 19
"""Entries of one block of weights: 4 MiB as float64, about 16 MiB with its working copies."""

MEANS_ENTRIES = 1 << 22
"""Bootstrap means of which percentiles are taken at once: 32 MiB as float64, about 100 MiB with working copies."""


class Interval(NamedTuple):
    """An estimate and its percentile interval: float64, one a configuration, in the unit of the metric."""

    mean: Floats
    low: Floats
    high: Floats


class Difference(NamedTuple):
    """A mean difference a − b, its percentile interval, and the two-sided p-value of "it is 0"."""

    mean: Floats
    low: Floats
    high: Floats
    p_value: Floats


class SeedEffects(NamedTuple):
    """What the choice of seeds adds to a − b beyond what it does query by query; both float64, one a configuration.

    ``variance`` is that of the difference; ``doubt`` how little is known of it: variance² ÷ degrees of freedom,
    summed over both sides.
    """

    variance: Floats
    doubt: Floats


def resample_weights(n_queries: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each query occurs in each draw: blocks (rows, n_queries) float64, `draws` rows in all.

    Each row is a multinomial draw of n_queries out of n_queries, so it sums to n_queries. Same arguments,
    same rows, for any block size.
    """
    stream = np.random.RandomState(seed)
    block = max(1, BLOCK_ENTRIES // n_queries)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        # int32 is named so that the stream does not follow the platform's default integer.
        drawn = stream.randint(0, n_queries, size=(rows, n_queries), dtype=np.int32).astype(np.int64)
        drawn += np.arange(rows)[:, None] * n_queries
        yield (
            np.bincount(drawn.ravel(), minlength=rows * n_queries).reshape(rows, n_queries).astype(np.float64)
        )


def bootstrap_means(values: FloatInput, draws: int, seed: int) -> Floats:
    """Mean over queries in each bootstrap draw, (..., draws) float64, for values (..., query).

    Values are first rounded to a binary grid on which every sum of n of them is exact in float64 (a change
    below n · 2⁻⁵² of the largest value), so the result does not depend on the order of summation. Memory:
    the result and one block of weights. Raises InvalidInput for fewer than 2 queries or values that are not
    finite.
    """
    on_grid = _on_grid(values)
    n_queries = on_grid.shape[-1]
    rows = on_grid.reshape(-1, n_queries)
    means = np.empty((len(rows), draws))
    start = 0
    for weights in resample_weights(n_queries, draws, seed):
        means[:, start : start + len(weights)] = rows @ weights.T
        start += len(weights)
    means /= n_queries
    return means.reshape(*on_grid.shape[:-1], draws)


def query_means(values: FloatInput) -> Floats:
    """Means over queries of values (..., query), (...) float64: the same in any order of summation."""
    on_grid = _on_grid(values)
    return np.asarray(on_grid.sum(axis=-1) / on_grid.shape[-1])


def mean_intervals(values: FloatInput, draws: int, seed: int, confidence: float) -> Interval:
    """Mean over queries and its percentile interval for each configuration, from values (..., query).

    With several seeds the values are means over seeds. Memory: the values and `MEANS_ENTRIES`. Raises InvalidInput
    as `bootstrap_means`, and for a confidence outside (0, 1) or fewer draws than its percentiles need.
    """
    tail = _tail_rank(draws, confidence)
    # On one grid for all of them, so that no interval depends on the block in which it is computed.
    on_grid = _on_grid(values)
    rows = on_grid.reshape(-1, on_grid.shape[-1])
    step = max(1, MEANS_ENTRIES // draws)
    limits = np.empty((2, len(rows)))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        limits[:, block] = _percentiles(bootstrap_means(rows[block], draws, seed), tail)
    low, high = limits.reshape(2, *on_grid.shape[:-1])
    return Interval(query_means(values), low, high)


def paired_difference_interval(
    a: FloatInput, b: FloatInput, draws: int, seed: int, confidence: float
) -> Difference:
    """Mean of a − b over queries, its interval and p-value, for a and b (..., query) on the same queries.

    The p-value is the smallest 1 − confidence whose percentile interval leaves out 0 (never below 2 ÷
    (draws + 1)), so it and the interval cannot contradict each other. Raises InvalidInput as
    `mean_intervals`, and for unequal shapes.
    """
    if a.shape != b.shape:
        raise InvalidInput(f"a, b: a paired difference needs one shape, got {a.shape} and {b.shape}")
    tail = _tail_rank(draws, confidence)
    difference = np.subtract(a, b, dtype=np.float64)
    means = bootstrap_means(difference, draws, seed)
    return _difference(query_means(difference), means, _rounding(a, b), tail)


def difference_interval_with_seeds(
    a: FloatInput,
    b: FloatInput,
    draws: int,
    seed: int,
    confidence: float,
    effects: SeedEffects | None = None,
) -> Difference:
    """Mean of a − b and its interval over queries AND seeds, for a and b (..., seed, query).

    Queries are drawn together for a and b; to each draw comes a normal effect of the seeds, with the
    variance that `seed_effects` estimates unless ``effects`` are given. Both are multiplied by sqrt(df ÷
    chi²(df)), df by Satterthwaite 1946, because few seeds say little about that variance. A side with one
    seed adds no spread over seeds. Where seeds have no effect of their own this is `paired_difference_interval` of the
    means over seeds. Raises InvalidInput as `mean_intervals`, and for shapes that do not match.
    """
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-1]:
        raise InvalidInput(
            f"a, b: expected (..., seed, query) on the same queries, got {a.shape} and {b.shape}"
        )
    tail = _tail_rank(draws, confidence)
    difference = a.mean(axis=-2, dtype=np.float64) - b.mean(axis=-2, dtype=np.float64)
    mean = query_means(difference)
    means = bootstrap_means(difference, draws, seed)
    added, doubt = seed_effects(a, b) if effects is None else effects
    # Separate from the stream of the queries, and the same for every configuration.
    stream = np.random.RandomState([seed, 1])
    normal = stream.standard_normal(draws)
    after_normal = stream.get_state()
    for one in np.ndindex(mean.shape):
        if added[one] > 0:
            stream.set_state(after_normal)
            freedom = (means[one].var() + added[one]) ** 2 / doubt[one]
            deviation = means[one] - mean[one] + normal * np.sqrt(added[one])
            means[one] = mean[one] + deviation * np.sqrt(freedom / stream.chisquare(freedom, draws))
    return _difference(mean, means, _rounding(a, b), tail)


def ratio_interval(
    numerator: FloatInput, denominator: FloatInput, draws: int, seed: int, confidence: float
) -> Interval:
    """Ratio of the two means over queries, with its interval from draws shared by both; both (..., query).

    The interval is NaN where the denominator's mean is 0 or changes sign in any draw: leaving such draws
    out would bias what remains. The ratio itself is NaN where the denominator's mean is 0. Raises
    InvalidInput as `mean_intervals`, and for unequal shapes.
    """
    if numerator.shape != denominator.shape:
        raise InvalidInput(
            f"numerator, denominator: a ratio needs one shape, got {numerator.shape} and {denominator.shape}"
        )
    tail = _tail_rank(draws, confidence)
    below = bootstrap_means(denominator, draws, seed)
    undefined = (below.min(axis=-1) <= 0) & (below.max(axis=-1) >= 0)
    divisor = np.where(undefined[..., None], np.nan, below)
    low, high = _percentiles(bootstrap_means(numerator, draws, seed) / divisor, tail)
    mean_below = query_means(denominator)
    return Interval(query_means(numerator) / np.where(mean_below == 0, np.nan, mean_below), low, high)


def seed_spread(values: FloatInput) -> Floats:
    """Standard deviation (n − 1) over seeds of the mean over queries, for values (..., seed, query).

    NaN for one seed. Raises InvalidInput where the two axes are missing, and as `bootstrap_means`.
    """
    if values.ndim < 2:
        raise InvalidInput(f"values: expected (..., seed, query), got shape {values.shape}")
    means = query_means(values)
    if means.shape[-1] < 2:
        return np.full(means.shape[:-1], np.nan)
    return np.asarray(means.std(axis=-1, ddof=1))


def seed_effects(a: FloatInput, b: FloatInput) -> SeedEffects:
    """The effects of the seeds of a and b, both (..., seed, query), on the difference of their means."""
    of_seeds = [_seed_variance(side) for side in (a, b)]
    doubt = sum(
        variance**2 / max(side.shape[-2] - 1, 1) for variance, side in zip(of_seeds, (a, b), strict=True)
    )
    return SeedEffects(of_seeds[0] + of_seeds[1], np.asarray(doubt))


def _seed_variance(values: FloatInput) -> Floats:
    """Variance that the choice of seeds adds to a mean over them, for (..., seed, query); 0 for one seed.

    What differs between seeds query by query is already in the resampling of queries; drawing seeds with
    replacement besides would count it up to three times (Owen 2007) and the rest (s − 1) ÷ s times. So the
    two-way analysis of variance subtracts it: max(0, mean square of seeds − mean square within) ÷ (queries
    · seeds).
    """
    seeds, n_queries = values.shape[-2:]
    between, within = seed_mean_squares(values)
    return np.asarray(np.maximum(between - within, 0.0) / (n_queries * seeds))


def seed_mean_squares(values: FloatInput) -> tuple[Floats, Floats]:
    """Mean square of seeds and mean square within, of the two-way analysis of variance of (..., seed, query).

    Without effects of the seeds as a whole both estimate the same. Both are 0 for one seed.
    """
    seeds, n_queries = values.shape[-2:]
    if seeds < 2:
        return np.zeros(values.shape[:-2]), np.zeros(values.shape[:-2])
    of_query = values.mean(axis=-2, dtype=np.float64, keepdims=True)
    of_seed = values.mean(axis=-1, dtype=np.float64, keepdims=True)
    centre = of_seed.mean(axis=-2, keepdims=True)
    within = ((values - of_query - of_seed + centre) ** 2).sum(axis=(-2, -1)) / (
        (seeds - 1) * (n_queries - 1)
    )
    between = ((of_seed - centre) ** 2).sum(axis=(-2, -1)) * n_queries / (seeds - 1)
    return np.asarray(between), np.asarray(within)


def _on_grid(values: FloatInput) -> Floats:
    n_queries = values.shape[-1] if values.ndim else 0
    if n_queries < 2:
        raise InvalidInput(f"values: an interval over queries needs at least 2 queries, got {n_queries}")
    if not np.isfinite(values).all():
        raise InvalidInput("values: some are NaN or infinite; intervals need a value for every query")
    largest = float(np.abs(values).max(initial=0.0))
    # A power of two above n * largest bounds every partial sum; multiples of 2⁻⁵³ of it are exact below it.
    exponent = math.frexp(n_queries * largest)[1] - 53
    return np.asarray(np.ldexp(np.rint(np.ldexp(values.astype(np.float64), -exponent)), exponent))


def _tail_rank(draws: int, confidence: float) -> int:
    """The rank of the lower percentile, counted from 0: floor((draws + 1) · (1 − confidence) ÷ 2) − 1."""
    if not 0 < confidence < 1:
        raise InvalidInput(f"confidence: expected a share between 0 and 1, got {confidence}")
    # Rounding undoes what binary fractions do to whole numbers, as in 1000 * (1 - 0.9) / 2 = 49.99….
    tail = math.floor(round((draws + 1) * (1 - confidence) / 2, 6)) - 1
    if tail < 0:
        raise InvalidInput(
            f"draws: {draws} are too few for confidence {confidence}; "
            f"take at least {math.ceil(round(2 / (1 - confidence), 6)) - 1}"
        )
    return tail


def _percentiles(means: Floats, tail: int) -> tuple[Floats, Floats]:
    last = means.shape[-1] - 1 - tail
    ordered = np.partition(means, (tail, last), axis=-1)
    undefined = np.isnan(means).any(axis=-1)
    return np.where(undefined, np.nan, ordered[..., tail]), np.where(undefined, np.nan, ordered[..., last])


def _rounding(a: FloatInput, b: FloatInput) -> float:
    """What float32 rounding of the stored values can leave of a difference of means that is 0."""
    return float(max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))) * 2.0**-22


def _difference(mean: Floats, means: Floats, rounding: float, tail: int) -> Difference:
    # Draws in which gains and losses cancel are common and must count as 0, on both sides.
    means = np.where(np.abs(means) <= rounding, 0.0, means)
    low, high = _percentiles(means, tail)
    at_most, at_least = (means <= 0).sum(axis=-1), (means >= 0).sum(axis=-1)
    one_sided = (1 + np.minimum(at_most, at_least)) / (means.shape[-1] + 1)
    return Difference(mean, low, high, np.minimum(1.0, 2 * one_sided))
