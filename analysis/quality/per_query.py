"""Retrieval quality per query: Recall@k, nDCG@k and MRR@k over judgements, Overlap@k with exact neighbours.

Everything is kept per query; means and intervals are made in `analysis.intervals.bootstrap`. Definitions:
docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from store.errors import InvalidInput

METRICS = ("recall", "ndcg", "mrr", "overlap")


@dataclass(frozen=True, eq=False)
class Judgements:
    """Graded judgements of one dataset, one entry a (query, document) pair, sorted by that pair.

    `query` and `document` (j,) int32 are rows of the stored queries and documents; `relevance` (j,) int32,
    above 0 means relevant. Every one of the `n_queries` queries has at least one relevant document. Raises
    InvalidInput.
    """

    query: NDArray[np.int32]
    document: NDArray[np.int32]
    relevance: NDArray[np.int32]
    n_queries: int

    def __post_init__(self) -> None:
        fields = (self.query, self.document, self.relevance)
        for name, field in zip(("query", "document", "relevance"), fields, strict=True):
            if field.ndim != 1 or field.dtype != np.int32 or field.shape != self.query.shape:
                raise InvalidInput(
                    f"judgements.{name}: expected int32 of shape {self.query.shape[:1]}, "
                    f"got {field.dtype} of shape {field.shape}; build it with Judgements.sorted"
                )
        if self.n_queries < 1:
            raise InvalidInput(f"judgements.n_queries: expected at least 1 query, got {self.n_queries}")
        if self.query.size and (self.query.min() < 0 or self.query.max() >= self.n_queries):
            raise InvalidInput(
                f"judgements.query: rows run from {self.query.min()} to {self.query.max()}, "
                f"but there are {self.n_queries} queries; drop judgements of unknown queries"
            )
        if self.document.size and self.document.min() < 0:
            raise InvalidInput("judgements.document: a row is negative; drop judgements of unknown documents")
        order = np.diff(_keys(self.query, self.document, _span(self.document)))
        if (order < 0).any():
            raise InvalidInput(
                "judgements: not sorted by (query, document); build them with Judgements.sorted"
            )
        if (order == 0).any():
            pair = int(np.flatnonzero(order == 0)[0])
            raise InvalidInput(
                f"judgements: query row {self.query[pair]} and document row {self.document[pair]} "
                "are judged twice; keep one judgement a pair"
            )
        without = np.flatnonzero(self.relevant_counts() == 0)
        if without.size:
            raise InvalidInput(
                f"judgements: {without.size} of {self.n_queries} queries have no relevance above 0 "
                f"(the first is query row {without[0]}); drop these queries"
            )

    @classmethod
    def sorted(
        cls, query: ArrayLike, document: ArrayLike, relevance: ArrayLike, n_queries: int
    ) -> Judgements:
        """Judgements from one-dimensional integer columns in any order. Raises InvalidInput."""
        columns = []
        for name, values in (("query", query), ("document", document), ("relevance", relevance)):
            column = np.asarray(values)
            limits = np.iinfo(np.int32)
            if column.ndim != 1 or column.dtype.kind not in "iu" or len(column) != np.size(query):
                raise InvalidInput(
                    f"judgements.{name}: expected {np.size(query)} integers, "
                    f"got {column.dtype} of shape {column.shape}"
                )
            if column.size and (column.min() < limits.min or column.max() > limits.max):
                raise InvalidInput(
                    f"judgements.{name}: a value does not fit in int32; renumber the rows or grades"
                )
            columns.append(column.astype(np.int32))
        order = np.lexsort((columns[1], columns[0]))
        return cls(columns[0][order], columns[1][order], columns[2][order], n_queries)

    def relevant_counts(self) -> NDArray[np.int64]:
        """Number of relevant documents of each query, (q,) int64."""
        return np.bincount(self.query[self.relevance > 0], minlength=self.n_queries).astype(np.int64)


def gains(judgements: Judgements, rows: NDArray[np.integer]) -> NDArray[np.int32]:
    """Relevance of the document at each rank, (q, K) int32; a document without judgement counts 0.

    `rows` (q, K) are document rows by rank. Raises InvalidInput for another number of queries or a negative
    row.
    """
    _check_rows("rows", rows, judgements.n_queries)
    span = max(_span(judgements.document), _span(rows))
    judged = _keys(judgements.query, judgements.document, span)
    ranked = _keys(np.arange(judgements.n_queries)[:, None], rows, span)
    position, present = _find(judged, ranked)
    return np.where(present, judgements.relevance[position], np.int32(0))


def recall(ranked_gains: NDArray[np.int32], judgements: Judgements, ks: Sequence[int]) -> NDArray[np.float64]:
    """Share of a query's relevant documents among its first k, (k, q) float64, given its `gains` (q, K)."""
    at = _cut_indices(ks, ranked_gains.shape[1])
    found = np.cumsum(ranked_gains > 0, axis=1)
    return np.asarray(found[:, at].T / judgements.relevant_counts())


def mrr(ranked_gains: NDArray[np.int32], ks: Sequence[int]) -> NDArray[np.float64]:
    """1 ÷ rank of the first relevant document if that rank is at most k, else 0 (Voorhees 1999); (k, q) float64."""
    at = _cut_indices(ks, ranked_gains.shape[1])
    relevant = ranked_gains > 0
    first = np.where(relevant.any(axis=1), relevant.argmax(axis=1), ranked_gains.shape[1])
    return np.where(first <= at[:, None], 1.0 / (first + 1), 0.0)


def ndcg(ranked_gains: NDArray[np.int32], judgements: Judgements, ks: Sequence[int]) -> NDArray[np.float64]:
    """nDCG@k with linear gain and discount log2(rank + 1), as trec_eval's `ndcg_cut`; (k, q) float64.

    The ideal ranking has all judged documents of the query by falling relevance; negative relevance gains
    nothing. Source: Järvelin & Kekäläinen 2002.
    """
    depth = ranked_gains.shape[1]
    at = _cut_indices(ks, depth)
    found = np.cumsum(np.maximum(ranked_gains, 0) / np.log2(np.arange(depth) + 2), axis=1)[:, at].T

    gain = np.maximum(judgements.relevance, 0)
    falling = np.lexsort((-gain, judgements.query))
    starts = np.searchsorted(judgements.query, np.arange(judgements.n_queries))
    rank = np.arange(len(gain)) - starts[judgements.query]
    discounted = gain[falling] / np.log2(rank + 2)
    ideal = np.stack(
        [
            np.bincount(judgements.query, weights=discounted * (rank <= last), minlength=judgements.n_queries)
            for last in at
        ]
    )
    return np.asarray(found / ideal)


def overlap(
    found_rows: NDArray[np.integer], exact_rows: NDArray[np.integer], ks: Sequence[int]
) -> NDArray[np.float64]:
    """Share of the exact top-k that is in the found top-k, (k, q) float64.

    `found_rows` (q, K) and `exact_rows` (q, K') are document rows by rank, each at most once a query.
    """
    at = _cut_indices(ks, min(found_rows.shape[1], exact_rows.shape[1]))
    found_rows, exact_rows = found_rows[:, : max(ks)], exact_rows[:, : max(ks)]
    n_queries, depth = found_rows.shape
    span = max(_span(found_rows), _span(exact_rows))
    query = np.arange(n_queries)[:, None]
    exact = _keys(query, exact_rows, span).ravel()
    order = np.argsort(exact, kind="stable")
    position, present = _find(exact[order], _keys(query, found_rows, span))
    exact_rank = order[position] % exact_rows.shape[1]
    # A document is shared by both top-k exactly from the larger of its two ranks on.
    needed = np.where(present, np.maximum(exact_rank, np.arange(depth)), np.iinfo(np.int64).max)
    return np.stack([np.count_nonzero(needed <= last, axis=1) / (last + 1) for last in at])


def per_query(
    found_rows: NDArray[np.integer],
    exact_rows: NDArray[np.integer],
    judgements: Judgements,
    ks: Sequence[int],
) -> NDArray[np.float32]:
    """Every metric of METRICS at every k for every query, (metric, k, query) float32.

    `found_rows` (q, K) are the codec's document rows by rank, `exact_rows` (q, K') those of the float
    search. Raises InvalidInput if a k is below 1 or above K or K', a row is negative, or a document occurs
    twice for one query.
    """
    for name, rows in (("found_rows", found_rows), ("exact_rows", exact_rows)):
        _check_rows(name, rows, judgements.n_queries)
        repeated = (np.diff(np.sort(rows, axis=1), axis=1) == 0).any(axis=1)
        if repeated.any():
            raise InvalidInput(
                f"{name}: a document occurs twice for query row {repeated.argmax()}; rank each document once"
            )
    ranked_gains = gains(judgements, found_rows)
    values = (
        recall(ranked_gains, judgements, ks),
        ndcg(ranked_gains, judgements, ks),
        mrr(ranked_gains, ks),
        overlap(found_rows, exact_rows, ks),
    )
    return np.stack(values).astype(np.float32)


def _cut_indices(ks: Sequence[int], depth: int) -> NDArray[np.int64]:
    """Zero-based index of the last rank of each k."""
    if not len(ks) or min(ks) < 1 or max(ks) > depth:
        raise InvalidInput(f"ks: every k must be between 1 and the {depth} ranks found, got {list(ks)}")
    return np.asarray(ks, dtype=np.int64) - 1


def _check_rows(name: str, rows: NDArray[np.integer], n_queries: int) -> None:
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or len(rows) != n_queries:
        raise InvalidInput(
            f"{name}: expected integer rows for {n_queries} queries, got {rows.dtype} of shape {rows.shape}"
        )
    if rows.size and rows.min() < 0:
        raise InvalidInput(f"{name}: a row is negative; search must return as many documents as ranks")


def _span(rows: NDArray[np.integer]) -> int:
    return int(rows.max(initial=0)) + 1


def _keys(query: NDArray[np.integer], rows: NDArray[np.integer], span: int) -> NDArray[np.int64]:
    """One integer a (query, row) pair, ordered as the pairs are; `span` exceeds every row."""
    return query.astype(np.int64) * span + rows.astype(np.int64)


def _find(
    sorted_keys: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """A valid position in `sorted_keys` for each key, and whether the key is there."""
    position = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return position, sorted_keys[position] == keys
