"""What float16 costs: nothing for vectors that float16 holds, something for neighbours that it confuses."""

from __future__ import annotations

import numpy as np

from analysis.quality import Judgements
from analysis.storage import StorageCost

ONE = Judgements.sorted([0, 1], [0, 1], [1, 1], 2)
NOBODY = np.full(2, -1, np.int32)


def figures(documents: np.ndarray, queries: np.ndarray, k: int) -> dict[str, float]:
    cost = StorageCost(queries, NOBODY, k)
    half = len(documents) // 2
    cost.update(documents[:half], 0)
    cost.update(documents[half:], half)
    return cost.figures(ONE)


def test_vectors_that_float16_holds_cost_nothing() -> None:
    documents = np.eye(4, dtype=np.float32)
    assert figures(documents, documents[:2], 1) == {
        "ndcg_at_1_float32": 1.0,
        "ndcg_at_1_float16": 1.0,
        "overlap_at_1": 1.0,
    }


def test_neighbours_that_float16_confuses_cost_their_rank() -> None:
    # Rows 0 and 2 differ by less than float16 can hold: the copy ranks the smaller row first, whatever was better.
    documents = np.array([[0.9, 0.1], [0, 1], [0.90001, 0.1], [-1, 0]], np.float32)
    queries = np.array([[1, 0], [0, 1]], np.float32)
    judged_last = StorageCost(queries, NOBODY, 1)
    judged_last.update(documents, 0)
    found = judged_last.figures(Judgements.sorted([0, 1], [2, 1], [1, 1], 2))
    assert found == {"ndcg_at_1_float32": 1.0, "ndcg_at_1_float16": 0.5, "overlap_at_1": 0.5}
