"""What storing vectors in float16 costs, measured while the float32 vectors still exist.

It is measured on the first documents of a cell, which are a random sample of it. A growing collection keeps them, so
no other float32 vectors are needed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.quality.per_query import Judgements, gains, ndcg, overlap
from store.search.inner_product import InnerProductTopK
from store.search.vectors import Floats

DIGITS = 6


@dataclass(frozen=True, eq=False)
class Sample:
    """The first documents of a cell and the queries with a relevant one among them.

    documents: their number. queries: (queries, dimension) float32. self_row: (queries,) int32, the document to leave
    out, -1 for none. judgements: of these queries and documents.
    """

    documents: int
    queries: NDArray[np.float32]
    self_row: NDArray[np.int32]
    judgements: Judgements


def sample(
    queries: NDArray[np.float32], self_row: NDArray[np.int32], judgements: Judgements, documents: int
) -> Sample | None:
    """What the first ``documents`` of a cell can be measured by; None where no query has a relevant one among them."""
    inside = judgements.document < documents
    chosen = np.unique(judgements.query[inside & (judgements.relevance > 0)])
    if not len(chosen):
        return None
    kept = inside & np.isin(judgements.query, chosen)
    return Sample(
        documents,
        queries[chosen],
        np.where(self_row[chosen] < documents, self_row[chosen], np.int32(-1)),
        Judgements.sorted(
            np.searchsorted(chosen, judgements.query[kept]),
            judgements.document[kept],
            judgements.relevance[kept],
            len(chosen),
        ),
    )


def storage_cost(measured: Sample, vectors: NDArray[np.float32], k: int) -> dict[str, float]:
    """nDCG@k of ``vectors`` (documents, dimension) and of their float16 copies, and the Overlap@k of the two."""
    full = _nearest(measured, measured.queries, vectors, k)
    stored = _nearest(measured, measured.queries.astype(np.float16), vectors.astype(np.float16), k)
    judgements, ks = measured.judgements, [k]
    return {
        f"ndcg_at_{k}_float32": _mean(ndcg(gains(judgements, full), judgements, ks)),
        f"ndcg_at_{k}_float16": _mean(ndcg(gains(judgements, stored), judgements, ks)),
        f"overlap_at_{k}": _mean(overlap(stored, full, ks)),
    }


def _nearest(measured: Sample, queries: Floats, vectors: Floats, k: int) -> NDArray[np.int64]:
    search = InnerProductTopK(queries, k, measured.self_row.astype(np.int64))
    search.update(vectors, 0)
    return search.result().rows


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(values.mean()), DIGITS)
