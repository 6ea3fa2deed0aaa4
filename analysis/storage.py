"""What storing vectors in float16 costs, measured while the float32 vectors are still there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.quality import Judgements, gains, ndcg, overlap
from store.search import InnerProductTopK

DIGITS = 6


class StorageCost:
    """Searches float32 vectors and their float16 copies side by side, block by block.

    queries: (queries, dimension) float32. self_row: (queries,) int32, the document to leave out, -1 for none.
    k: cut-off.
    """

    def __init__(self, queries: NDArray[np.float32], self_row: NDArray[np.int32], k: int) -> None:
        self._k = k
        exclude = self_row.astype(np.int64)
        self._full = InnerProductTopK(queries, k, exclude)
        self._stored = InnerProductTopK(queries.astype(np.float16), k, exclude)

    def update(self, vectors: NDArray[np.float32], first_row: int) -> None:
        """Search one block of documents, (documents, dimension) float32."""
        self._full.update(vectors, first_row)
        self._stored.update(vectors.astype(np.float16), first_row)

    def figures(self, judgements: Judgements) -> dict[str, float]:
        """nDCG@k of both, and the Overlap@k of the stored vectors' neighbours with the float32 ones."""
        full, stored = self._full.result().rows, self._stored.result().rows
        ks = [self._k]
        scores = {
            name: ndcg(gains(judgements, rows), judgements, ks).mean()
            for name, rows in (("float32", full), ("float16", stored))
        }
        return {
            f"ndcg_at_{self._k}_float32": round(float(scores["float32"]), DIGITS),
            f"ndcg_at_{self._k}_float16": round(float(scores["float16"]), DIGITS),
            f"overlap_at_{self._k}": round(float(overlap(stored, full, ks).mean()), DIGITS),
        }
