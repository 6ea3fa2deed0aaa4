"""Three queries by hand, and the settings of a bootstrap that is fast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.failures.compare import (
    Truth,
)
from analysis.quality.per_query import Judgements

BOOTSTRAP: dict[str, Any] = {"draws": 1000, "seed": 0, "confidence": 0.95}
NO_SELF = -1


def seeds(*rows: list[list[int]]) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


def hand_made() -> Truth:
    """Three queries, k = 2, six documents. Query 2 is judged relevant to three documents, one of them itself."""
    return Truth(
        model="m",
        dataset="d",
        judgements=Judgements.sorted([0, 1, 1, 2, 2, 2], [0, 2, 3, 1, 4, 5], [1, 0, 1, 1, 2, 1], 3),
        judged_score=np.array([0.9, 0.95, 0.5, 0.6, 0.6, 1.0]),
        self_row=np.array([NO_SELF, NO_SELF, 5], np.int32),
        rows=np.array([[0, 1], [2, 0], [1, 4]], np.int32),
        scores=np.array([[0.9, 0.7], [0.95, 0.75], [0.6, 0.6]]),
        query_words=np.array([3, 5, 8]),
        n_documents=6,
    )
