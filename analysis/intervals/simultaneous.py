"""Many differences at once: Holm-adjusted p-values, and intervals that all hold together (max-t bootstrap).

A family is a list of comparisons of two systems, each on the queries of one dataset, with several seeds a side.
Intervals are half as wide as a common critical value times each difference's own error; the critical value is the
quantile of the largest |t| over the family in bootstrap draws, each draw divided by its own error (Efron &
Tibshirani 1993, chapter 12; Romano & Wolf 2005). Definitions, choices and simulations: docs/quality.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from analysis.intervals.bootstrap import (
    Difference,
    FloatInput,
    Floats,
    Interval,
    SeedEffects,
    bootstrap_means,
    difference_interval_with_seeds,
    seed_mean_squares,
)
from store.errors import InvalidInput

BLOCK_ENTRIES = 1 << 21
"""Bootstrap means held at once: 16 MiB as float64, about 64 MiB with working copies."""


class Member(NamedTuple):
    """One comparison of a family: ``first`` and ``second`` are (..., seed, query), values between 0 and 1.

    Members with the same ``queries`` were measured on the same queries and share draws. Members with the
    same ``pool`` are taken to have seed effects of the same size relative to what seeds do query by query.
    """

    first: FloatInput
    second: FloatInput
    queries: Hashable
    pool: Hashable


class Family(NamedTuple):
    """The differences first − second of a family, each array (..., member) float64.

    ``difference`` is each on its own, with its p-value; ``p_holm`` the p-values adjusted over the family (Holm
    1979); ``simultaneous`` the intervals that hold together.
    """

    difference: Difference
    p_holm: Floats
    simultaneous: Interval


def compare_family(members: Sequence[Member], draws: int, seed: int, confidence: float) -> Family:
    """Differences of all members, each with its interval and p-value, and both for the family as a whole.

    Each set of queries has draws of its own, the first from ``seed``, the next from ``seed`` + 1. Memory: the values
    and `BLOCK_ENTRIES`. Raises InvalidInput for an empty family, for members that do not fit together, for too few
    draws to reject anything by Holm, and as `difference_interval_with_seeds`.
    """
    _check(members, draws, confidence)
    effects = pooled_seed_effects(members)
    shape = (*members[0].first.shape[:-2], len(members))
    difference = Difference(*(np.empty(shape) for _ in Difference._fields))
    for queries, block in _blocks(members, draws):
        found = difference_interval_with_seeds(
            np.stack([members[i].first for i in block], axis=-3, dtype=np.float64),
            np.stack([members[i].second for i in block], axis=-3, dtype=np.float64),
            draws,
            seed + queries,
            confidence,
            SeedEffects(*(np.stack([effects[i][part] for i in block], axis=-1) for part in (0, 1))),
        )
        for whole, part in zip(difference, found, strict=True):
            whole[..., block] = part
    return Family(
        difference,
        holm(difference.p_value),
        _simultaneous_intervals(members, effects, draws, seed, confidence),
    )


def pooled_seed_effects(members: Sequence[Member]) -> list[SeedEffects]:
    """Seed effects of each member, (...) each, estimated from all members of its pool.

    On either side, effect variance ÷ mean square within is one ratio for the pool: Σ (mean square of seeds − mean
    square within) ÷ queries, over Σ mean square within, at least 0. Three or five seeds of one member say too little
    for intervals at the level that a family needs. How many seeds the pool really has is not known (cells may share
    their random matrices), so the degrees of freedom stay those of the member, seeds − 1.
    """
    pools: dict[Hashable, list[int]] = defaultdict(list)
    for index, member in enumerate(members):
        pools[member.pool].append(index)
    variance = [np.zeros(member.first.shape[:-2]) for member in members]
    doubt = [np.zeros(member.first.shape[:-2]) for member in members]
    for positions in pools.values():
        for values in ([members[i].first for i in positions], [members[i].second for i in positions]):
            squares = [seed_mean_squares(one) for one in values]
            excess = sum((b - w) / v.shape[-1] for (b, w), v in zip(squares, values, strict=True))
            within = np.asarray(sum(w for _, w in squares))
            ratio = np.maximum(excess, 0.0) / np.where(within > 0, within, 1.0)
            for i, (_, own), one in zip(positions, squares, values, strict=True):
                seeds = one.shape[-2]
                variance[i] += ratio * own / seeds
                doubt[i] += (ratio * own / seeds) ** 2 / max(seeds - 1, 1)
    return [SeedEffects(*pair) for pair in zip(variance, doubt, strict=True)]


def _simultaneous_intervals(
    members: Sequence[Member], effects: Sequence[SeedEffects], draws: int, seed: int, confidence: float
) -> Interval:
    """Intervals (..., member) that hold all together with the given confidence, by max-t bootstrap.

    The variance of a difference is that over queries, plus that of its seeds (``effects``), plus 1 ÷ queries²: one
    more query that changes from 0 to 1, so that members with few or no changes are not treated as certain. Where
    seeds contribute, the critical value is taken from Student's t at the same tail as it has under the normal, with
    Satterthwaite's degrees of freedom.
    """
    from scipy.stats import norm, t

    largest: Floats | float = 0.0
    mean, error, freedom = (np.empty((*members[0].first.shape[:-2], len(members))) for _ in range(3))
    for queries, block in _blocks(members, draws):
        difference = np.stack([_over_seeds(members[i]) for i in block], axis=-2)
        of_seeds, doubt = (np.stack([effects[i][part] for i in block], axis=-1) for part in (0, 1))
        # Members may share their seeds; independent effects need the largest critical value (Šidák 1967).
        normal = np.stack([np.random.RandomState([seed, 1, i]).standard_normal(draws) for i in block])
        n_queries = difference.shape[-1]
        fixed = of_seeds + 1 / n_queries**2
        centre = difference.mean(axis=-1)
        drawn, squared = bootstrap_means(np.stack([difference, difference**2]), draws, seed + queries)
        squared -= drawn**2
        drawn -= centre[..., None]
        drawn += np.sqrt(of_seeds)[..., None] * normal
        ratio = np.abs(drawn) / np.sqrt(np.maximum(squared, 0.0) / (n_queries - 1) + fixed[..., None])
        largest = np.maximum(largest, ratio.max(axis=-2))
        total = difference.var(axis=-1) / (n_queries - 1) + fixed
        mean[..., block], error[..., block] = centre, np.sqrt(total)
        freedom[..., block] = np.divide(total**2, doubt, out=np.full_like(total, np.inf), where=doubt > 0)
    rank = math.ceil(round((draws + 1) * confidence, 6)) - 1
    # Never less than one normal difference takes: where nothing ever changes, the largest |t| is 0 in every draw.
    critical = np.maximum(np.partition(largest, rank, axis=-1)[..., rank], norm.isf((1 - confidence) / 2))[
        ..., None
    ]
    known = np.isinf(freedom)
    student = t.isf(norm.sf(critical), np.where(known, 1.0, freedom))
    half = error * np.where(known, critical, student)
    return Interval(mean, mean - half, mean + half)


def holm(p_values: Floats) -> Floats:
    """p-values (..., member) adjusted over the last axis, so that any false rejection is as rare as the level.

    Each is the largest of p · (members left) over it and all smaller ones, at most 1 (Holm 1979).
    """
    size = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1, kind="stable")
    ascending = np.take_along_axis(p_values, order, axis=-1) * np.arange(size, 0, -1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(ascending, axis=-1), 1.0), axis=-1)
    return adjusted


def _over_seeds(member: Member) -> Floats:
    first, second = (side.mean(axis=-2, dtype=np.float64) for side in (member.first, member.second))
    return np.asarray(first - second)


def _blocks(members: Sequence[Member], draws: int) -> Iterator[tuple[int, list[int]]]:
    """Positions of members that are drawn together, each with the number of their set of queries."""
    sets = list(dict.fromkeys(member.queries for member in members))
    alike: dict[tuple[int, tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for index, member in enumerate(members):
        alike[sets.index(member.queries), member.first.shape, member.second.shape].append(index)
    for (queries, shape, _), positions in alike.items():
        size = max(1, BLOCK_ENTRIES // (2 * draws * math.prod(shape[:-2])))
        for start in range(0, len(positions), size):
            yield queries, positions[start : start + size]


def _check(members: Sequence[Member], draws: int, confidence: float) -> None:
    if not members:
        raise InvalidInput("members: a family needs at least one comparison")
    sizes: dict[Hashable, int] = {}
    for member in members:
        n_queries = member.first.shape[-1]
        if sizes.setdefault(member.queries, n_queries) != n_queries:
            raise InvalidInput(
                f"members: {member.queries} has {sizes[member.queries]} queries in one and {n_queries} in "
                "another; give different sets of queries different labels"
            )
    if 0 < confidence < 1:
        needed = math.ceil(round(2 * len(members) / (1 - confidence), 6)) - 1
        if draws < needed:
            raise InvalidInput(
                f"draws: {draws} are too few for Holm over {len(members)} comparisons; take at least {needed}"
            )
