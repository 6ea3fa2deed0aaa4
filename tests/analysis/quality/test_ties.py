"""Expected Recall@k over random ties against the mean over every tie order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.quality.per_query import Judgements
from analysis.quality.ties import expected_recall, tied_share
from store.errors import InvalidInput
from tests.oracles.quality import recall_over_all_tie_orders


def counts_at(distances: np.ndarray, ks: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k-th distance, documents strictly closer, documents at it; each (q, k)."""
    kth = np.sort(distances, axis=1)[:, np.array(ks) - 1]
    below = (distances[:, None, :] < kth[:, :, None]).sum(axis=2)
    equal = (distances[:, None, :] == kth[:, :, None]).sum(axis=2)
    return kth, below, equal


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 3))
def test_expectation_is_the_mean_over_all_orders(
    data: st.DataObject, n_documents: int, n_queries: int
) -> None:
    distances = np.array(
        data.draw(
            st.lists(
                st.lists(st.integers(0, 3), min_size=n_documents, max_size=n_documents),
                min_size=n_queries,
                max_size=n_queries,
            )
        )
    )
    grades = [
        data.draw(st.dictionaries(st.integers(0, n_documents - 1), st.integers(0, 2)))
        for _ in range(n_queries)
    ]
    for judged in grades:
        judged[data.draw(st.integers(0, n_documents - 1))] = 1
    pairs = [(q, d, g) for q, judged in enumerate(grades) for d, g in judged.items()]
    query, document, grade = zip(*pairs, strict=True)
    judgements = Judgements.sorted(query, document, grade, n_queries)
    ks = list(range(1, n_documents + 1))
    judged_distances = distances[judgements.query, judgements.document]
    values = expected_recall(judgements, judged_distances, *counts_at(distances, ks), ks)
    expected = [
        [recall_over_all_tie_orders(distances[q].tolist(), grades[q], k) for q in range(n_queries)]
        for k in ks
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_row_order_moves_recall_around_its_expectation() -> None:
    """Judged rows first or last bracket the expectation; a random row order gives it."""
    stream = np.random.RandomState(0)
    n_queries, n_documents, k = 400, 200, 10
    distances = stream.binomial(16, 0.35, size=(n_queries, n_documents))
    judged = np.arange(n_queries) % 20
    judgements = Judgements.sorted(np.arange(n_queries), judged, np.ones(n_queries, int), n_queries)
    expected = expected_recall(
        judgements, distances[np.arange(n_queries), judged], *counts_at(distances, [k]), [k]
    )

    def recall_with(row_order: np.ndarray) -> float:
        ranks = np.argsort(distances[:, row_order], axis=1, kind="stable")[:, :k]
        return float((row_order[ranks] == judged[:, None]).any(axis=1).mean())

    rows = np.arange(n_documents)
    shuffled = np.mean([recall_with(stream.permutation(n_documents)) for _ in range(60)])
    assert recall_with(rows) > expected.mean() + 0.01
    assert recall_with(rows[::-1]) < expected.mean() - 0.01
    assert abs(shuffled - expected.mean()) < 0.004


def test_an_excluded_judged_document_is_never_found() -> None:
    # Documents at distances 1 1 2; the judged document 3 is the query itself and lies at 0, hence excluded.
    judgements = Judgements.sorted([0, 0], [0, 3], [1, 1], 1)
    values = expected_recall(
        judgements, np.array([1, 17]), np.array([[1]]), np.array([[0]]), np.array([[2]]), [1]
    )
    assert values.tolist() == [[0.25]]


def test_tied_share_is_true_only_where_the_group_is_cut() -> None:
    closer = np.array([[0, 2], [0, 1], [0, 0]])
    tied = np.array([[1, 1], [1, 3], [4, 4]])
    assert tied_share(closer, tied, (1, 3)).tolist() == [[False, False, True], [False, True, True]]


GOOD: dict[str, Any] = {
    "judgements": Judgements.sorted([0, 1], [0, 1], [1, 1], 2),
    "judged_distances": np.array([3, 4]),
    "kth_distances": np.array([[3], [5]]),
    "closer": np.array([[1], [1]]),
    "tied": np.array([[1], [2]]),
    "ks": (2,),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": (1,)}, r"rank k must lie within its tie group, closer < k <= closer \+ tied"),
        ({"ks": (4,)}, r"rank k must lie within its tie group"),
        (
            {"closer": np.array([[-1], [1]]), "tied": np.array([[4], [4]])},
            r"rank k must lie within its tie group",
        ),
        ({"ks": (1, 2)}, r"closer, tied: expected shape \(2, 2\) \(queries, ks\), got \(2, 1\) and \(2, 1\)"),
        (
            {"kth_distances": np.array([3, 5])},
            r"kth_distances: expected shape \(2, 1\) as `tied` has, got \(2,\)",
        ),
        (
            {"judged_distances": np.array([3])},
            r"expected one distance for each of the 2 judgements, got shape \(1,\)",
        ),
        (
            {"closer": np.array([[1], [0]]), "tied": np.array([[1], [2]])},
            r"more relevant documents than counted documents at k = 2",
        ),
    ],
)
def test_impossible_counts_are_refused(change: dict[str, Any], message: str) -> None:
    assert expected_recall(**GOOD).tolist() == [[1.0, 1.0]]
    with pytest.raises(InvalidInput, match=message):
        expected_recall(**{**GOOD, **change})
    if set(change) <= {"closer", "tied", "ks"} and "within" in message:
        with pytest.raises(InvalidInput, match=message):
            tied_share(**{name: {**GOOD, **change}[name] for name in ("closer", "tied", "ks")})
