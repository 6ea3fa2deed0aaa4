"""Quality per query against trec_eval and against the definitions in plain Python."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.quality import per_query as quality
from analysis.quality.per_query import METRICS, Judgements
from store.errors import InvalidInput
from tests.oracles import quality as oracle

Case = tuple[list[list[int]], list[list[int]], list[dict[int, int]]]


def judgements_of(graded: list[dict[int, int]]) -> Judgements:
    triples = [(q, d, g) for q, judged in enumerate(graded) for d, g in judged.items()]
    query, document, relevance = zip(*triples, strict=True)
    return Judgements.sorted(query, document, relevance, len(graded))


@st.composite
def cases(draw: st.DrawFn, lowest_grade: int = 0) -> Case:
    """Found and exact rankings of one depth; judgements with at least one relevant document a query."""
    n_documents = draw(st.integers(1, 14))
    depth = draw(st.integers(1, n_documents))
    found, exact, graded = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        found.append(draw(st.permutations(range(n_documents)))[:depth])
        exact.append(draw(st.permutations(range(n_documents)))[:depth])
        judged = draw(
            st.dictionaries(st.integers(0, n_documents + 2), st.integers(lowest_grade, 4), max_size=8)
        )
        judged[draw(st.integers(0, n_documents + 2))] = draw(st.integers(1, 4))
        graded.append(judged)
    return found, exact, graded


@settings(max_examples=150, deadline=None)
@given(cases())
def test_recall_ndcg_and_mrr_are_trec_evals(case: Case) -> None:
    found, exact, graded = case
    ks = list(range(1, len(found[0]) + 1))
    values = quality.per_query(np.array(found), np.array(exact), judgements_of(graded), ks)
    for column, k in enumerate(ks):
        expected = oracle.trec_eval(found, graded, k)
        for metric in ("recall", "ndcg", "mrr"):
            np.testing.assert_allclose(
                values[METRICS.index(metric), column], expected[metric], rtol=1e-6, atol=1e-7
            )


@settings(max_examples=150, deadline=None)
@given(cases(lowest_grade=-2))
def test_every_metric_is_its_definition(case: Case) -> None:
    found, exact, graded = case
    depth = len(found[0])
    ks = sorted({depth, (depth + 1) // 2, 1})
    values = quality.per_query(
        np.array(found, np.int32), np.array(exact, np.int32), judgements_of(graded), ks
    )
    assert values.dtype == np.float32
    assert values.shape == (4, len(ks), len(found))
    for column, k in enumerate(ks):
        for q, judged in enumerate(graded):
            expected = [
                oracle.recall(found[q], judged, k),
                oracle.ndcg(found[q], judged, k),
                oracle.mrr(found[q], judged, k),
                oracle.overlap(found[q], exact[q], k),
            ]
            np.testing.assert_array_equal(values[:, column, q], np.array(expected, np.float32))


def test_a_worked_example() -> None:
    # Query 0: relevant 7 (grade 2) and 3 (grade 1); found 5 7 3. Query 1: relevant 9, not found.
    judgements = Judgements.sorted([1, 0, 0, 0], [9, 7, 3, 5], [1, 2, 1, 0], 2)
    found = np.array([[5, 7, 3], [0, 1, 2]], np.int32)
    exact = np.array([[7, 3, 1], [2, 1, 0]], np.int32)
    values = quality.per_query(found, exact, judgements, (1, 2, 3))
    assert quality.gains(judgements, found).tolist() == [[0, 2, 1], [0, 0, 0]]
    log3 = math.log2(3)
    ideal = 2 + 1 / log3
    np.testing.assert_allclose(values[0, :, 0], [0, 0.5, 1])
    np.testing.assert_allclose(values[1, :, 0], [0, 2 / log3 / ideal, (2 / log3 + 0.5) / ideal], rtol=1e-6)
    np.testing.assert_allclose(values[2, :, 0], [0, 0.5, 0.5])
    assert (values[:3, :, 1] == 0).all()
    np.testing.assert_allclose(values[3, :, 0], [0, 1 / 2, 2 / 3], rtol=1e-6)
    assert values[3, :, 1].tolist() == [0, 0.5, 1]


def test_the_ideal_ranking_scores_exactly_one() -> None:
    stream = np.random.RandomState(0)
    grades = stream.randint(1, 5, size=(20, 12)).astype(np.int32)
    documents = np.argsort(-grades, axis=1).astype(np.int32)
    judgements = Judgements.sorted(
        np.repeat(np.arange(20), 12), np.tile(np.arange(12), 20), grades.ravel(), 20
    )
    ks = tuple(range(1, 13))
    assert (quality.ndcg(quality.gains(judgements, documents), judgements, ks) == 1).all()
    assert (quality.overlap(documents, documents[:, ::-1], ks)[-1] == 1).all()


def test_keys_do_not_wrap_for_large_rows() -> None:
    last = np.iinfo(np.int32).max
    judgements = Judgements.sorted(np.arange(5), np.full(5, last), np.ones(5, int), 5)
    rows = np.full((5, 1), last, np.int32)
    assert quality.per_query(rows, rows, judgements, (1,)).tolist() == np.ones((4, 1, 5)).tolist()


def test_exact_neighbours_may_be_deeper_than_the_found() -> None:
    judgements = Judgements.sorted([0], [3], [1], 1)
    values = quality.overlap(np.array([[1, 2]]), np.array([[2, 0, 1]]), (1, 2))
    assert values.tolist() == [[0.0], [0.5]]
    assert quality.per_query(np.array([[1, 2]]), np.array([[2, 0, 1]]), judgements, (2,))[3, 0, 0] == 0.5


VALID: dict[str, Any] = {"query": [0, 0, 1], "document": [4, 2, 2], "relevance": [1, 0, 2], "n_queries": 2}


def test_sorting_orders_by_query_then_document() -> None:
    judgements = Judgements.sorted(**VALID)
    assert judgements.query.tolist() == [0, 0, 1]
    assert judgements.document.tolist() == [2, 4, 2]
    assert judgements.relevance.tolist() == [0, 1, 2]
    assert judgements.relevant_counts().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_queries": 3}, r"1 of 3 queries have no relevance above 0 \(the first is query row 2\)"),
        ({"relevance": [1, 0, 0]}, r"1 of 2 queries have no relevance above 0 \(the first is query row 1\)"),
        (
            {"query": [], "document": [], "relevance": []},
            r"judgements\.query: expected 0 integers, got float64",
        ),
        ({"n_queries": 0}, r"judgements\.n_queries: expected at least 1 query, got 0"),
        ({"query": [0, 0, 2]}, r"judgements\.query: rows run from 0 to 2, but there are 2 queries"),
        ({"query": [-1, 0, 1]}, r"judgements\.query: rows run from -1 to 1"),
        ({"document": [-4, 2, 2]}, r"judgements\.document: a row is negative"),
        ({"document": [2, 2, 2]}, r"query row 0 and document row 2 are judged twice"),
        ({"document": [4, 2]}, r"judgements\.document: expected 3 integers, got int64 of shape \(2,\)"),
        ({"relevance": [1.5, 0.0, 2.0]}, r"judgements\.relevance: expected 3 integers, got float64"),
        ({"relevance": [2**31, 0, 1]}, r"judgements\.relevance: a value does not fit in int32"),
    ],
)
def test_bad_judgements_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Judgements.sorted(**{**VALID, **change})


def test_unsorted_or_mistyped_columns_are_refused() -> None:
    good = Judgements.sorted(**VALID)
    with pytest.raises(InvalidInput, match=r"not sorted by \(query, document\)"):
        dataclasses.replace(good, document=good.document[[1, 0, 2]])
    with pytest.raises(
        InvalidInput, match=r"judgements\.relevance: expected int32 of shape \(3,\), got int64"
    ):
        dataclasses.replace(good, relevance=good.relevance.astype(np.int64))


ROWS = np.array([[0, 1, 2], [3, 4, 5]], np.int32)


@pytest.mark.parametrize("ks", [(), (0,), (1, 4), (-1, 2)])
def test_ks_outside_the_ranks_found_are_refused(ks: tuple[int, ...]) -> None:
    judgements = Judgements.sorted(**VALID)
    message = rf"ks: every k must be between 1 and the 3 ranks found, got \[{', '.join(map(str, ks))}\]"
    with pytest.raises(InvalidInput, match=message):
        quality.per_query(ROWS, ROWS, judgements, ks)
    with pytest.raises(InvalidInput, match=message):
        quality.overlap(ROWS, ROWS, ks)


@pytest.mark.parametrize(
    ("found", "exact", "message"),
    [
        (ROWS[:1], ROWS, r"found_rows: expected integer rows for 2 queries, got int32 of shape \(1, 3\)"),
        (ROWS, ROWS.astype(np.float32), r"exact_rows: expected integer rows for 2 queries, got float32"),
        (ROWS - 1, ROWS, r"found_rows: a row is negative"),
        (ROWS, ROWS // 4, r"exact_rows: a document occurs twice for query row 0"),
        (np.array([[0, 1, 2], [3, 4, 3]]), ROWS, r"found_rows: a document occurs twice for query row 1"),
        (ROWS, ROWS[:, :2], r"ks: every k must be between 1 and the 2 ranks found, got \[1, 3\]"),
    ],
)
def test_bad_rankings_are_refused(found: Any, exact: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        quality.per_query(found, exact, Judgements.sorted(**VALID), (1, 3))
