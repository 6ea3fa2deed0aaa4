"""Families of differences: a slow oracle drawn query by query, laws of the family, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, t
from statsmodels.stats.multitest import multipletests

from analysis.intervals import simultaneous
from analysis.intervals.bootstrap import (
    difference_interval_with_seeds,
    paired_difference_interval,
    seed_effects,
    seed_mean_squares,
)
from analysis.intervals.simultaneous import Member, compare_family, holm, pooled_seed_effects
from store.errors import InvalidInput


def recall(stream: np.random.RandomState, *shape: int, level: float = 0.5) -> np.ndarray:
    return (stream.rand(*shape) < level).astype(np.float32)


def family_of(
    stream: np.random.RandomState, effect: float = 0.0, seeds: tuple[int, int] = (3, 2)
) -> list[Member]:
    """Four members on two sets of queries, of 40 and 30, in two pools."""
    return [
        Member(
            recall(stream, seeds[0], n) + effect * stream.randn(seeds[0], 1).astype(np.float32),
            recall(stream, seeds[1], n, level=0.6),
            f"queries-{n}",
            pool,
        )
        for n in (40, 30)
        for pool in ("short", "long")
    ]


def slow_intervals(
    members: list[Member], draws: int, seed: int, confidence: float
) -> list[tuple[float, float]]:
    """One draw, one member and one query at a time."""
    effects = pooled_seed_effects(members)
    labels = list(dict.fromkeys(member.queries for member in members))
    streams = [np.random.RandomState(seed + i) for i in range(len(labels))]
    normal = [np.random.RandomState([seed, 1, i]).standard_normal(draws) for i in range(len(members))]
    differences = [
        np.array(
            [
                member.first[:, q].astype(float).mean() - member.second[:, q].astype(float).mean()
                for q in range(n)
            ]
        )
        for member in members
        for n in [member.first.shape[1]]
    ]
    largest = []
    for draw in range(draws):
        sizes = [
            next(len(d) for d, m in zip(differences, members, strict=True) if m.queries == s) for s in labels
        ]
        picks = [
            stream.randint(0, n, size=n, dtype=np.int32) for stream, n in zip(streams, sizes, strict=True)
        ]
        ratios = []
        for i, (member, difference) in enumerate(zip(members, differences, strict=True)):
            drawn = difference[picks[labels.index(member.queries)]]
            error = np.sqrt(drawn.var(ddof=1) / len(drawn) + effects[i].variance + 1 / len(drawn) ** 2)
            moved = drawn.mean() - difference.mean() + np.sqrt(effects[i].variance) * normal[i][draw]
            ratios.append(abs(moved) / error)
        largest.append(max(ratios))
    critical = max(sorted(largest)[round((draws + 1) * confidence) - 1], norm.ppf(0.5 + confidence / 2))
    found = []
    for difference, (variance, doubt) in zip(differences, effects, strict=True):
        total = difference.var(ddof=1) / len(difference) + variance + 1 / len(difference) ** 2
        factor = t.isf(norm.sf(critical), total**2 / doubt) if doubt else critical
        half = factor * np.sqrt(total)
        found.append((difference.mean() - half, difference.mean() + half))
    return found


@pytest.mark.parametrize("seeds", [(3, 2), (4, 1), (1, 1)])
@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_intervals_are_those_of_the_slow_oracle(seeds: tuple[int, int], effect: float) -> None:
    members = family_of(np.random.RandomState(1), effect, seeds)
    found = compare_family(members, 199, 5, 0.9).simultaneous
    slow = np.array(slow_intervals(members, 199, 5, 0.9))
    np.testing.assert_allclose(np.stack([found.low, found.high], axis=1), slow, atol=1e-9)
    np.testing.assert_allclose(found.mean, slow.mean(axis=1), atol=1e-9)


def test_one_difference_has_nearly_the_interval_of_a_normal_mean() -> None:
    stream = np.random.RandomState(2)
    member = Member(stream.rand(1, 2000), 0.8 * stream.rand(1, 2000), "q", 0)
    found = compare_family([member], 9999, 0, 0.95)
    error = (member.first - member.second).std(ddof=1) / np.sqrt(2000)
    assert abs((found.simultaneous.high - found.simultaneous.low)[0] / (2 * 1.96 * error) - 1) < 0.03


def test_a_member_twice_changes_nothing_and_other_queries_widen() -> None:
    stream = np.random.RandomState(3)
    member = Member(recall(stream, 1, 200), recall(stream, 1, 200), "q", 0)
    alone = compare_family([member], 1999, 4, 0.95).simultaneous
    twice = compare_family([member, member], 1999, 4, 0.95).simultaneous
    assert (twice.low == alone.low).all()
    assert (twice.high == alone.high).all()
    # Six independent differences: the critical value is that of 1 − (1 − 0.05)^(1/6).
    others = [member._replace(queries=f"other {i}") for i in range(5)]
    apart = compare_family([member, *others], 1999, 4, 0.95).simultaneous
    widening = (apart.high - apart.low)[0] / (alone.high - alone.low)[0]
    assert abs(widening - norm.ppf(0.5 + 0.95 ** (1 / 6) / 2) / norm.ppf(0.975)) < 0.06


def test_draws_divided_by_their_own_error_make_room_for_skew() -> None:
    """Nine losses and no gain in 300: the interval must not end at 1.96 errors of what happened to be seen."""
    lost = np.zeros((1, 300), np.float32)
    lost[0, :9] = 1
    found = compare_family([Member(0 * lost, lost, "q", 0)], 9999, 0, 0.95).simultaneous
    error = np.sqrt(lost.var(ddof=1) / 300)
    assert 2.3 < (found.high - found.low)[0] / (2 * error) < 3.5


def test_what_never_changes_is_not_taken_for_certain() -> None:
    stream = np.random.RandomState(4)
    same = recall(stream, 2, 100)
    equal = Member(same, same, "q", 0)
    alone = compare_family([equal], 999, 0, 0.95)
    z = norm.ppf(0.975)
    np.testing.assert_allclose((alone.simultaneous.low[0], alone.simultaneous.high[0]), (-z / 100, z / 100))
    assert (alone.difference.low[0], alone.difference.high[0], alone.p_holm[0]) == (0, 0, 1)
    other = Member(recall(stream, 2, 100), recall(stream, 2, 100), "q", 1)
    both = compare_family([equal, other], 999, 0, 0.95).simultaneous
    assert both.low[0] == -both.high[0] < -z / 100 * 0.999
    assert np.isfinite([both.low, both.high]).all()
    # A family of constant values with a certain difference: the same width about it.
    ones = np.ones((1, 50), np.float32)
    certain = compare_family([Member(ones, 0 * ones, "q", 0)], 999, 0, 0.95).simultaneous
    np.testing.assert_allclose((certain.low[0], certain.high[0]), (1 - z / 50, 1 + z / 50))


# ---- effects of seeds ----


def test_alone_in_its_pool_a_member_keeps_its_own_estimate() -> None:
    members = [m._replace(pool=i) for i, m in enumerate(family_of(np.random.RandomState(5), 0.3))]
    for member, pooled in zip(members, pooled_seed_effects(members), strict=True):
        own = seed_effects(member.first, member.second)
        np.testing.assert_allclose(pooled, own, rtol=1e-9, atol=1e-12)
        assert own.variance > 0


def test_a_pool_shares_one_ratio_of_the_seeds_effect_to_what_seeds_do_query_by_query() -> None:
    stream = np.random.RandomState(6)
    scales = 0.2, 0.5
    members = [
        Member(
            scale * (stream.randn(200, 1, 80) + stream.randn(200, 5, 80) + 0.3 * stream.randn(200, 5, 1)),
            np.zeros((200, 1, 80)),
            i,
            "pool",
        )
        for i, scale in enumerate(scales)
    ]
    effects = pooled_seed_effects(members)
    for (variance, doubt), scale, member in zip(effects, scales, members, strict=True):
        within = seed_mean_squares(member.first)[1]
        # The planted ratio is 0.09; a mean over seeds has a fifth of it.
        assert abs((5 * variance / within).mean() - 0.09) < 0.01
        assert abs(variance.mean() / (0.09 * scale**2 / 5) - 1) < 0.1
        np.testing.assert_allclose(doubt, variance**2 / 4)
    ratios = [
        variance / seed_mean_squares(m.first)[1] for (variance, _), m in zip(effects, members, strict=True)
    ]
    np.testing.assert_allclose(ratios[0], ratios[1])
    own = np.stack(
        [
            seed_effects(m.first, m.second).variance / scale**2
            for m, scale in zip(members, scales, strict=True)
        ]
    )
    assert (
        np.stack([e.variance / s**2 for e, s in zip(effects, scales, strict=True)]).std() < 0.85 * own.std()
    )


def test_pools_do_not_influence_each_other() -> None:
    members = family_of(np.random.RandomState(7), 0.3)
    together = pooled_seed_effects(members)
    for pool in ("short", "long"):
        own = [i for i, member in enumerate(members) if member.pool == pool]
        for i, alone in zip(own, pooled_seed_effects([members[i] for i in own]), strict=True):
            assert alone == together[i]


def test_seeds_that_agree_or_stand_alone_add_nothing() -> None:
    one = recall(np.random.RandomState(8), 1, 60)
    members = [Member(np.repeat(one, 3, axis=0), 1 - one, "q", 0), Member(one, 0 * one, "q", 0)]
    np.testing.assert_array_equal(pooled_seed_effects(members), np.zeros((2, 2)))
    found = compare_family(members, 999, 2, 0.95).difference
    for i, member in enumerate(members):
        plain = paired_difference_interval(member.first.mean(axis=0), member.second[0], 999, 2, 0.95)
        np.testing.assert_allclose([part[i] for part in found], plain, atol=1e-12)


# ---- each difference on its own ----


def test_each_difference_is_that_of_queries_and_seeds_with_the_pooled_effects() -> None:
    members = family_of(np.random.RandomState(9), 0.2)
    effects = pooled_seed_effects(members)
    found = compare_family(members, 399, 3, 0.9)
    for i, member in enumerate(members):
        alone = difference_interval_with_seeds(
            member.first, member.second, 399, 3 + (i >= 2), 0.9, effects=effects[i]
        )
        np.testing.assert_allclose([part[i] for part in found.difference], alone, atol=1e-12)
    np.testing.assert_array_equal(found.p_holm, holm(found.difference.p_value))
    np.testing.assert_allclose(found.difference.mean, found.simultaneous.mean, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(arrays(np.float64, (2, 7), elements=st.sampled_from([0.0002, 0.001, 0.01, 0.02, 0.3, 1.0])))
def test_holm_is_that_of_statsmodels(p_values: np.ndarray) -> None:
    adjusted = holm(p_values)
    np.testing.assert_allclose(adjusted[0], multipletests(p_values[0], method="holm")[1], rtol=1e-12)
    np.testing.assert_array_equal(adjusted[1], holm(p_values[1]))


# ---- draws, memory ----


def test_block_size_and_leading_axes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [family_of(np.random.RandomState(seed), 0.2) for seed in (10, 11)]
    both = [
        Member(np.stack([a.first, b.first]), np.stack([a.second, b.second]), a.queries, a.pool)
        for a, b in zip(*studies, strict=True)
    ]
    whole = compare_family(both, 199, 1, 0.9)
    monkeypatch.setattr(simultaneous, "BLOCK_ENTRIES", 1)
    single = compare_family(both, 199, 1, 0.9)
    for a, b in ((whole.difference, single.difference), (whole.simultaneous, single.simultaneous)):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
    for i, study in enumerate(studies):
        alone = compare_family(study, 199, 1, 0.9)
        np.testing.assert_allclose(whole.simultaneous.low[i], alone.simultaneous.low, rtol=1e-9)
        np.testing.assert_allclose(whole.difference.low[i], alone.difference.low, rtol=1e-9)
        np.testing.assert_array_equal(whole.p_holm[i], alone.p_holm)


def test_results_do_not_depend_on_threads() -> None:
    program = (
        "import numpy as np, hashlib\n"
        "from analysis.intervals.simultaneous import Member, compare_family\n"
        "r = np.random.RandomState(0)\n"
        "m = [Member(r.rand(5, 501), r.rand(3, 501), i % 2, i // 2) for i in range(6)]\n"
        "d, h, s = compare_family(m, 999, 1, .95)\n"
        "print(hashlib.sha256(np.stack([*d, h, *s]).tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OPENBLAS_CORETYPE": kernel},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, kernel in (("1", "Prescott"), ("2", "Haswell"))
    }
    assert len(digests) == 1


def test_memory_is_bounded_by_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = np.random.RandomState(12)
    members = [Member(recall(stream, 1, 50), recall(stream, 1, 50), "q", 0) for _ in range(120)]
    effects = pooled_seed_effects(members)
    draws = 10_000
    simultaneous._simultaneous_intervals(members[:1], effects[:1], draws, 0, 0.95)
    peaks = []
    for block in (1 << 18, 1 << 20):
        monkeypatch.setattr(simultaneous, "BLOCK_ENTRIES", block)
        tracemalloc.start()
        simultaneous._simultaneous_intervals(members, effects, draws, 0, 0.95)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        # Four arrays of a block, and one block of weights with its working copies.
        assert peaks[-1] <= 4 * 8 * block + 20e6
    assert peaks[0] < peaks[1]


# ---- bad input ----

ROW = np.ones((1, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_family([], 999, 0, 0.95), "members: a family needs at least one comparison"),
        (
            lambda: compare_family(
                [Member(ROW, ROW, "nq", 0), Member(ROW[:, :3], ROW[:, :3], "nq", 0)], 999, 0, 0.95
            ),
            "members: nq has 4 queries in one and 3 in another; give different sets of queries different labels",
        ),
        (
            lambda: compare_family([Member(ROW, ROW, "q", 0)] * 36, 1438, 0, 0.95),
            "draws: 1438 are too few for Holm over 36 comparisons; take at least 1439",
        ),
        (
            lambda: compare_family([Member(ROW, ROW, "q", 0)], 999, 0, 95),
            "confidence: expected a share between 0 and 1, got 95",
        ),
        (
            lambda: compare_family([Member(ROW, ROW[:, :3], "q", 0)], 999, 0, 0.95),
            r"a, b: expected \(\.\.\., seed, query\) on the same queries",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
