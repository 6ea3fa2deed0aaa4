"""Three queries by hand, searches of them, and the settings of a bootstrap that is fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from analysis.failures.cell import truth_of
from analysis.quality.per_query import Judgements

BOOTSTRAP: dict[str, Any] = {"draws": 1000, "seed": 0, "confidence": 0.95}
NO_SELF = -1


def seeds(*rows: list[list[int]]) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


def found_by(
    codec: str,
    rows: NDArray[np.int32],
    *,
    bits: int = 64,
    kth_distance: ArrayLike | None = None,
    judged_distance: ArrayLike | None = None,
    undertrained: bool = False,
) -> xr.Dataset:
    """What a codec found at one size, as `searches` gives it: ``rows`` (seed, query, rank)."""
    data = xr.Dataset({"rows": (("seed", "query", "rank"), rows)})
    if kth_distance is not None:
        data["kth_distance"] = (("seed", "query"), np.array(kth_distance, np.int64))
        data["judged_distance"] = (("seed", "judgement"), np.array(judged_distance, np.int32))
    return data.assign_attrs(codec=codec, bits=bits, undertrained=undertrained)


def hand_made(
    self_row: tuple[int, ...] = (NO_SELF, NO_SELF, 5), model: str = "m", dataset: str = "d"
) -> xr.Dataset:
    """Three queries, k = 2, six documents. Query 2 is judged relevant to three documents, one of them itself."""
    exact = exact_search(
        np.array([[0, 1], [2, 0], [1, 4]], np.int32), np.array([[0.9, 0.7], [0.95, 0.75], [0.6, 0.6]])
    )
    return truth_of(
        Judgements.sorted([0, 1, 1, 2, 2, 2], [0, 2, 3, 1, 4, 5], [1, 0, 1, 1, 2, 1], 3),
        np.array([0.9, 0.95, 0.5, 0.6, 0.6, 1.0]),
        exact.assign_attrs(model=model, dataset=dataset),
        self_row=np.array(self_row, np.int32),
        query_words=np.array([3, 5, 8]),
        n_documents=6,
        k=2,
    )


def exact_search(rows: NDArray[np.int32], scores: NDArray[np.float64]) -> xr.Dataset:
    """The exact neighbours of a cell: ``rows`` and ``scores`` (query, rank)."""
    dims = ("configuration", "query", "rank")
    return xr.Dataset({"rows": (dims, rows[None]), "scores": (dims, scores[None])})


def exact_rows(truth: xr.Dataset) -> NDArray[np.int32]:
    """The rows of the exact search, (query, rank)."""
    return np.asarray(truth["rows"].values)
