"""Failure modes: sets and covariates by hand, planted causes that must be found, oracles for counts and the AUC."""

from __future__ import annotations

from collections import Counter
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from analysis.failures.cell import NONE, answers, judgements_of, truth_of
from analysis.failures.compare import (
    COLUMNS,
    DENSITY,
    HAMMING_MARGIN,
    HUBNESS,
    MARGIN,
    MIN_GROUP,
    WORDS,
    attainable_recall,
    auc,
    auc_interval,
    compare_codecs,
    compare_groups,
    displacing_hubness,
    k_occurrence,
    table,
)
from analysis.quality.per_query import Judgements
from analysis.report.tables import csv_text
from store.errors import InvalidInput
from tests.analysis.failures.failed_queries import (
    BOOTSTRAP,
    NO_SELF,
    exact_rows,
    exact_search,
    found_by,
    hand_made,
    seeds,
)
from tests.analysis.quality.labelled_cells import shuffled
from tests.counts import count


def covariate(failures: xr.Dataset, name: str) -> NDArray[np.float64]:
    """The values of a covariate, (query,)."""
    return np.asarray(failures["value"].sel(covariate=name).values)


def covariates(failures: xr.Dataset) -> list[str]:
    return list(failures["covariate"].values.tolist())


def test_a_query_relevant_to_itself_alone_has_no_answer() -> None:
    truth = hand_made(self_row=(0, NO_SELF, 5))
    assert answers(truth).tolist() == [NONE, 2, 3]
    both = found_by(
        "b",
        seeds([[1, 2], [3, 0], [1, 4]]),
        bits=8,
        kth_distance=[[3, 4, 5]],
        judged_distance=np.full((1, 6), 2),
    )
    failures, _ = compare_codecs(truth, both, both, 0.5)
    assert np.isnan(covariate(failures, MARGIN)).tolist() == [True, False, False]
    assert np.isnan(covariate(failures, HAMMING_MARGIN)).tolist() == [True, False, False]
    assert failures["answer_row"].values.tolist() == [NONE, 3, 1]


def test_recall_that_k_ranks_can_attain_by_hand() -> None:
    rows = seeds([[0, 1], [2, 0], [1, 4]], [[1, 2], [3, 2], [0, 4]])
    # Query 2 has three relevant documents and two ranks: both found is all that can be found.
    assert attainable_recall(rows, judgements_of(hand_made())).tolist() == [0.5, 0.5, 0.75]


def test_hubness_of_what_displaced_by_hand() -> None:
    exact = exact_rows(hand_made())
    first = [[0, 3], [3, 4], [1, 4]]
    second = [[0, 1], [3, 2], [5, 4]]
    hubness = displacing_hubness(seeds(first, second), exact, 6)
    # Query 0: 3, in two lists of the first seed. Query 1: 3 (two lists) and 4 (two) in the first seed, 3 (one) in
    # the second. Query 2: 5 (one) in the second.
    assert hubness.tolist() == [2.0, 5 / 3, 1.0]
    only_exact = displacing_hubness(exact[np.newaxis], exact, 6)
    assert np.isnan(only_exact).all()


def test_margins_by_hand() -> None:
    truth = hand_made()
    binary = found_by(
        "binary",
        seeds([[0, 3], [2, 4], [1, 4]], [[1, 2], [2, 4], [1, 0]]),
        kth_distance=[[10, 20, 30], [12, 20, 31]],
        judged_distance=[[4, 1, 26, 30, 0, 9], [14, 1, 22, 32, 0, 9]],
    )
    exact = found_by("exact", exact_rows(truth)[np.newaxis])
    failures, reverse = compare_codecs(truth, binary, exact, 0.5)
    np.testing.assert_allclose(covariate(failures, MARGIN), [0.9 - 0.7, 0.5 - 0.75, 0.0], atol=1e-15)
    np.testing.assert_allclose(
        covariate(failures, HAMMING_MARGIN), [(6 - 2) / 128, (-6 - 2) / 128, (0 - 1) / 128], atol=1e-15
    )
    np.testing.assert_allclose(covariate(failures, DENSITY), [0.8, 0.85, 0.6], atol=1e-15)
    assert covariate(failures, WORDS).tolist() == [3, 5, 8]
    # The other codec has no Hamming distances.
    assert set(covariates(reverse)) == {MARGIN, DENSITY, WORDS, HUBNESS}


def test_lost_and_kept_are_the_same_question_in_both_directions() -> None:
    truth = hand_made()
    first = found_by("first", seeds([[4, 3], [3, 0], [0, 2]]))
    second = found_by("second", seeds([[0, 3], [2, 0], [1, 4]]))
    failures, reverse = compare_codecs(truth, first, second, 0.5)
    assert failures["lost"].values.tolist() == reverse["opposite"].values.tolist() == [True, False, True]
    assert reverse["lost"].values.tolist() == failures["opposite"].values.tolist() == [False, True, False]
    assert failures["loss"].values.tolist() == (-reverse["loss"]).values.tolist() == [1.0, -1.0, 1.0]
    assert not failures["kept"].any()
    swapped, _ = compare_codecs(truth, second, first, 0.5)
    assert swapped["lost"].values.tolist() == reverse["lost"].values.tolist()
    for name in covariates(reverse):
        np.testing.assert_array_equal(covariate(swapped, name), covariate(reverse, name))


def test_a_query_at_the_cut_is_kept() -> None:
    truth = hand_made()
    half = found_by("half", seeds([[0, 3], [3, 0], [1, 4]], [[4, 3], [3, 0], [1, 4]]))
    full = found_by("full", seeds([[0, 3], [3, 0], [1, 4]]))
    at, _ = compare_codecs(truth, half, full, 0.5)
    above, _ = compare_codecs(truth, half, full, 0.51)
    assert at["lost"].values.tolist() == [False, False, False]
    assert above["lost"].values.tolist() == [True, False, False]


def test_found_rows_of_another_shape_are_refused() -> None:
    truth = hand_made()
    good = found_by("good", exact_rows(truth)[np.newaxis])
    short = found_by("short", exact_rows(truth)[np.newaxis, :, :1])
    with pytest.raises(InvalidInput, match=r"short at 64 bits: found \(3, 1\).*the exact search \(3, 2\)"):
        compare_codecs(truth, good, short, 0.5)


def test_no_order_of_dimensions_judgements_or_seeds_changes_a_figure() -> None:
    truth = hand_made()
    binary = found_by(
        "binary",
        seeds([[0, 3], [2, 4], [1, 4]], [[1, 2], [2, 4], [1, 0]]),
        kth_distance=[[10, 20, 30], [12, 20, 31]],
        judged_distance=[[4, 1, 26, 30, 0, 9], [14, 1, 22, 32, 0, 9]],
    )
    exact = found_by("exact", exact_rows(truth)[np.newaxis])
    expected = csv_text(table(compare_codecs(truth, binary, exact, 0.5), **BOOTSTRAP))
    for seed in range(3):
        # Judged pairs move with their distances, seeds with their rows; ranks and queries are positions.
        pairs = np.random.RandomState(seed).permutation(6)
        turned = [
            shuffled(one.isel(judgement=pairs), "query", "rank", "judgement", seed=seed)
            for one in (truth, binary)
        ]
        failures = compare_codecs(turned[0], turned[1], exact, 0.5)
        moved = [shuffled(one, "query", "rank", "covariate", seed=seed) for one in failures]
        assert csv_text(table(moved, **BOOTSTRAP)) == expected


@settings(max_examples=count(full=500, quick=50), deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), min_size=3, max_size=3, unique=True), min_size=1, max_size=6))
def test_k_occurrence_counts_lists(lists: list[list[int]]) -> None:
    expected = Counter(row for one in lists for row in one)
    assert k_occurrence(np.array(lists, np.int32), 8).tolist() == [expected[row] for row in range(8)]


def placements(group: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of ``other`` below each value, pair by pair."""
    return np.array([np.mean([1.0 if b < a else 0.5 if b == a else 0.0 for b in other]) for a in group])


GROUPS = st.lists(st.integers(0, 6), min_size=2, max_size=25)


@settings(max_examples=count(full=1000, quick=100), deadline=None)
@given(GROUPS, GROUPS)
def test_auc_is_the_rank_statistic_and_its_interval_delongs(first: list[int], second: list[int]) -> None:
    lost, kept = np.array(first, np.float64), np.array(second, np.float64)
    expected = mannwhitneyu(lost, kept).statistic / (len(lost) * len(kept))
    assert auc(lost, kept) == pytest.approx(expected, abs=1e-12)
    assert auc(kept, lost) == pytest.approx(1 - expected, abs=1e-12)
    below, above = placements(lost, kept), placements(kept, lost)
    variance = below.var(ddof=1) / len(lost) + above.var(ddof=1) / len(kept)
    low, high = auc_interval(lost, kept, 0.9)
    if variance < 1e-20:
        assert np.isnan([low, high]).all()
    else:
        z = NormalDist().inv_cdf(0.95)
        half = z * np.sqrt(variance) / (expected * (1 - expected))
        ends = np.log(expected / (1 - expected)) + np.array([-half, half])
        np.testing.assert_allclose([low, high], 1 / (1 + np.exp(-ends)), rtol=1e-9)


def test_an_interval_of_one_query_is_refused() -> None:
    with pytest.raises(InvalidInput, match="needs 2 queries on either side, got 1, 3"):
        auc_interval(np.ones(1), np.arange(3.0), 0.95)


@pytest.mark.parametrize(("n_lost", "n_kept"), [(20, 100), (100, 40)])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_intervals_cover(n_lost: int, n_kept: int, shift: float) -> None:
    """Shares of the simulations whose interval covers the truth; docs/failures.md has those of the full count."""
    random = np.random.RandomState(5)
    truth = NormalDist().cdf(shift / np.sqrt(2))
    n = count(full=2000, quick=80)
    values = random.standard_normal((n, n_lost + n_kept))
    values[:, :n_lost] += shift
    covers = np.zeros(2)
    for i, row in enumerate(values):
        (figures,) = compare_groups(
            row[None, :n_lost], row[None, n_lost:], draws=500, seed=i, confidence=0.95
        )
        covers += (
            figures["difference_low"] <= shift <= figures["difference_high"],
            figures["auc_low"] <= truth <= figures["auc_high"],
        )
    slack = 3 * np.sqrt(0.95 * 0.05 / n)
    assert (covers / n >= 0.93 - slack).all(), covers / n
    assert (covers / n <= 0.97 + slack).all(), covers / n


def test_the_groups_are_resampled_independently() -> None:
    """With the same draws, two copies of one sample would never differ."""
    values = np.random.RandomState(0).standard_normal((1, 400))
    (figures,) = compare_groups(values, values, draws=4000, seed=0, confidence=0.95)
    assert figures["difference"] == 0
    expected = 1.96 * np.sqrt(2 * values.var() / 400)
    assert figures["difference_high"] == pytest.approx(expected, rel=0.1)
    assert figures["difference_low"] == pytest.approx(-expected, rel=0.1)


@pytest.mark.parametrize(
    ("n_lost", "n_kept", "note"),
    [
        (0, 30, "no lost query with a value"),
        (30, 0, "no kept query with a value"),
        (0, 0, "no lost query with a value"),
        (1, 30, "no interval for groups of fewer than 20"),
        (MIN_GROUP, MIN_GROUP - 1, "no interval for groups of fewer than 20"),
    ],
)
def test_small_groups_have_counts_and_a_reason(n_lost: int, n_kept: int, note: str) -> None:
    lost, kept = np.arange(n_lost, dtype=np.float64)[None], np.arange(n_kept, dtype=np.float64)[None]
    (figures,) = compare_groups(lost, kept, **BOOTSTRAP)
    assert (figures["lost_n"], figures["kept_n"], figures["note"]) == (n_lost, n_kept, note)
    assert np.isnan([figures[name] for name in figures if name.endswith(("_low", "_high"))]).all()
    assert np.isnan(figures["auc"]) == (0 in (n_lost, n_kept))
    assert np.isnan(figures["lost_mean"]) == (n_lost == 0)
    assert np.isnan(figures["kept_mean"]) == (n_kept == 0)


def test_groups_that_do_not_overlap_have_no_interval_of_the_auc() -> None:
    values = np.arange(30.0)
    apart, constant = compare_groups(
        np.stack([values + 100, np.ones(30)]), np.stack([values, np.ones(30)]), **BOOTSTRAP
    )
    assert (apart["auc"], constant["auc"]) == (1.0, 0.5)
    for figures in (apart, constant):
        assert np.isnan(figures["auc_low"])
        assert np.isnan(figures["auc_high"])
        assert "separate the groups or are all equal" in figures["note"]
    assert apart["difference_low"] < 100 < apart["difference_high"]
    assert constant["difference_low"] == constant["difference_high"] == 0


K = 5
QUERIES = 300
LOST = 60
POOL = 3000


def planted(cause: str, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """A cell in which the first queries are lost and differ from the others in nothing but the planted covariate."""
    random = np.random.RandomState(seed)
    lost = np.arange(QUERIES) < LOST
    # Documents 0 … are exact neighbours, each of one query; those from POOL on displace them.
    exact = np.arange(QUERIES * K, dtype=np.int32).reshape(QUERIES, K)
    rows = exact.copy()
    for query in range(QUERIES):
        answer = exact[query, 0]
        hub = cause == HUBNESS and lost[query]
        others = POOL + (random.choice(8, 3, False) if hub else random.choice(3000, 3, False))
        rows[query] = [*others, *exact[query, 1:3]] if lost[query] else [answer, exact[query, 1], *others]
    level = random.uniform(0.4, 0.6, QUERIES) + (0.2 * lost if cause == DENSITY else 0)
    scores = np.repeat(level[:, None], K, axis=1)
    margin = random.uniform(0.1, 0.3, QUERIES) * (np.where(lost, 0.4, 1) if cause == MARGIN else 1)
    words = random.randint(5, 15, QUERIES) + (6 * lost if cause == WORDS else 0)
    truth = truth_of(
        Judgements.sorted(
            np.arange(QUERIES), exact[:, 0].astype(np.int64), np.ones(QUERIES, np.int64), QUERIES
        ),
        level + margin,
        exact_search(exact, scores).assign_attrs(model="m", dataset="d"),
        self_row=np.full(QUERIES, NO_SELF, np.int32),
        query_words=words.astype(np.int64),
        n_documents=POOL + 3000,
        k=K,
    )
    return truth, found_by("phase1", rows[None]), found_by("pq", exact[None])


@pytest.mark.parametrize("cause", [MARGIN, HUBNESS, DENSITY, WORDS, "nothing"])
def test_the_planted_covariate_is_found_and_the_others_are_not(cause: str) -> None:
    truth, binary, pq = planted(cause)
    failures, _ = compare_codecs(truth, binary, pq, 0.5)
    rows = {row["covariate"]: row for row in table([failures], **BOOTSTRAP).to_dict("records")}
    assert set(rows) == {MARGIN, HUBNESS, DENSITY, WORDS}
    for name, row in rows.items():
        assert (row["n_lost"], row["n_kept_by_both"], row["n_opposite"]) == (LOST, QUERIES - LOST, 0)
        separates = np.isnan(row["auc_low"]) or not row["auc_low"] <= 0.5 <= row["auc_high"]
        differs = not row["difference_low"] <= 0 <= row["difference_high"]
        assert separates == differs == (name == cause), (name, row)
    if cause != "nothing":
        assert (rows[cause]["auc"] > 0.9) == (cause != MARGIN)
        assert (rows[cause]["auc"] < 0.1) == (cause == MARGIN)


def test_rows_have_the_columns_and_count_what_has_a_value() -> None:
    truth, binary, _ = planted(WORDS)
    # The keeper finds nothing but exact neighbours, so nothing displaces them where it is the one that loses.
    keeper = found_by("pq", exact_rows(truth)[None], undertrained=True)
    rows = table(compare_codecs(truth, binary, keeper, 0.5), **BOOTSTRAP)
    lines = csv_text(rows).splitlines()
    assert lines[0].split(",") == list(COLUMNS)
    assert len(lines) == 1 + len(rows) == 9
    reverse = rows[rows["lost_by"] == "pq"].to_dict("records")
    assert [row["covariate"] for row in reverse] == sorted([DENSITY, HUBNESS, MARGIN, WORDS])
    for row in reverse:
        assert (row["kept_by"], row["n_lost"], row["n_opposite"]) == ("phase1", 0, LOST)
        assert row["note"] == "no lost query with a value"
        assert row["kept_n"] == (0 if row["covariate"] == HUBNESS else QUERIES - LOST)
        assert row["flags"] == "pq-undertrained"


def test_covariates_resampled_together_give_what_each_gives_alone() -> None:
    truth, binary, pq = planted(MARGIN)
    failures, _ = compare_codecs(truth, binary, pq, 0.5)
    alone = [table([failures.sel(covariate=[name])], **BOOTSTRAP) for name in covariates(failures)]
    # Sums are exact on a grid that depends on the largest value: equal but for the last digits.
    assert csv_text(pd.concat(alone)) == csv_text(table([failures], **BOOTSTRAP))
