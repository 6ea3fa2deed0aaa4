"""What float16 costs: nothing for vectors that float16 holds, something for neighbours that it confuses."""

from __future__ import annotations

import numpy as np

from analysis.quality.per_query import Judgements
from analysis.quality.storage import sample, storage_cost

NOBODY = np.full(2, -1, np.int32)


def figures(
    documents: np.ndarray, queries: np.ndarray, judgements: Judgements, self_row: np.ndarray = NOBODY
) -> dict[str, float]:
    measured = sample(queries, self_row, judgements, len(documents))
    assert measured is not None
    return storage_cost(measured, documents, 1)


def test_vectors_that_float16_holds_cost_nothing() -> None:
    documents = np.eye(4, dtype=np.float32)
    assert figures(documents, documents[:2], Judgements.sorted([0, 1], [0, 1], [1, 1], 2)) == {
        "ndcg_at_1_float32": 1.0,
        "ndcg_at_1_float16": 1.0,
        "overlap_at_1": 1.0,
    }


# Rows 0 and 2 differ by less than float16 can hold: the copy ranks the smaller row first, whichever was better.
DOCUMENTS = np.array([[0.9, 0.1], [0, 1], [0.90001, 0.1], [-1, 0]], np.float32)
QUERIES = np.array([[1, 0], [0, 1]], np.float32)


def test_neighbours_that_float16_confuses_cost_their_rank() -> None:
    found = figures(DOCUMENTS, QUERIES, Judgements.sorted([0, 1], [2, 1], [1, 1], 2))
    assert found == {"ndcg_at_1_float32": 1.0, "ndcg_at_1_float16": 0.5, "overlap_at_1": 0.5}


def test_only_queries_with_a_relevant_document_among_the_first_are_measured() -> None:
    queries = np.array([[0, 1], [1, 0], [-1, 0]], np.float32)
    judgements = Judgements.sorted([0, 1, 1, 2, 2], [5, 2, 6, 3, 4], [1, 1, 2, -1, 1], 3)
    measured = sample(queries, np.array([-1, 4, 2], np.int32), judgements, 4)
    assert measured is not None
    np.testing.assert_array_equal(measured.queries, queries[1:2])
    assert measured.self_row.tolist() == [-1]
    assert measured.judgements.document.tolist() == [2]
    assert figures(DOCUMENTS, queries, judgements, np.full(3, -1, np.int32)) == {
        "ndcg_at_1_float32": 1.0,
        "ndcg_at_1_float16": 0.0,
        "overlap_at_1": 0.0,
    }
    assert sample(queries, np.full(3, -1, np.int32), judgements, 2) is None


def test_the_document_that_is_the_query_is_left_out() -> None:
    judgements = Judgements.sorted([0, 1], [0, 1], [1, 1], 2)
    found = figures(DOCUMENTS, QUERIES, judgements, np.array([2, -1], np.int32))
    assert found == {"ndcg_at_1_float32": 1.0, "ndcg_at_1_float16": 1.0, "overlap_at_1": 1.0}
