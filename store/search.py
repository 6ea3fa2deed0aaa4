"""Exact top-k search by inner product: documents arrive in blocks, memory is bounded, the order is declared.

The order is total: the better score first, and among equal scores the smaller row. Results therefore do not
depend on how the documents were cut into blocks, nor on the order in which the blocks came.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.neighbours import NO_ROW, Neighbours, check_any, check_k, checked_exclude, raise_too_few
from store.summation import float32_error_share, sum_rows

Floats: TypeAlias = NDArray[np.float16] | NDArray[np.float32]

_LONGEST = 1e18  # beyond this length an inner product may overflow float32
_LOWEST = -1e37  # below every inner product, above minus infinity
_DOCUMENTS = 1 << 14  # documents compared at a time
_BLOCK_BYTES = 1 << 25  # of their float32 copy
_PAIRS = 1 << 21  # query-document pairs scored at a time
_RESCORED = 1 << 16  # float64 elements of re-scored pairs at a time: stays in the second-level cache


class InnerProductTopK:
    """The k documents of largest inner product with each query.

    queries: (queries, dimension) float16 or float32, rows no longer than 1e18.
    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.

    Every document is first scored by a float32 matrix product. Its error is at most gamma_d |q| |x| with
    gamma_d = d u / (1 - d u) and u = 2^-24, in whichever order the terms were added (Higham 2002, section
    3.1), so only documents within that bound of the k-th best can belong to the result. They alone are
    re-scored in float64, and the float64 scores decide. These do not depend on BLAS, threads, processor or
    blocks:

    - float16 on both sides and |q| |x| <= 32 (any normalised vectors): each term is a multiple of 2^-48 and,
      by Cauchy-Schwarz, no partial sum exceeds 2^5, so that every partial sum fits the 53 bits of float64:
      the score is the exact inner product whatever the order of summation.
    - otherwise: each product is exact in float64, and the products are added in one fixed order by
      element-wise additions. The score is within 1e-14 |q| |x| of the exact inner product; documents closer
      to each other than that are ordered by these rounded scores.

    Working memory is bounded by constants, about 250 MB where all documents tie and 60 MB on ordinary data,
    beside what the queries and their k results take.
    """

    def __init__(self, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> None:
        check_k(k)
        self._queries = _matrix(queries, "queries")
        check_any(self._queries)
        lengths = _lengths(self._queries.astype(np.float32), "queries", 0)
        excluded = checked_exclude(exclude, len(queries))
        documents = _documents_at_a_time(self._queries.shape[1])
        step = _PAIRS // documents
        self._k = k
        self._parts = [
            _Part(self._queries[at : at + step], lengths[at : at + step], k, excluded[at : at + step])
            for at in range(0, len(queries), step)
        ]

    def update(self, block: Floats, first_row: int) -> None:
        """Search (documents, dimension) float16 or float32 vectors, the first of which is row `first_row`.

        Each row is to be given once. Raises InvalidInput for another dimension and for rows that are not
        finite.
        """
        block = _matrix(block, "documents")
        dimension = self._queries.shape[1]
        if block.shape[1] != dimension:
            raise InvalidInput(
                f"documents have dimension {block.shape[1]} and the queries {dimension}: "
                "search vectors of one model"
            )
        exact_halves = block.dtype == np.float16 and self._queries.dtype == np.float16
        step = _documents_at_a_time(dimension)
        for at in range(0, len(block), step):
            documents = np.ascontiguousarray(block[at : at + step], dtype=np.float32)
            longest = float(_lengths(documents, "documents", first_row + at).max())
            for part in self._parts:
                part.update(documents, longest, first_row + at, exact_halves)

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""
        best = [part.best() for part in self._parts]
        rows = np.concatenate([rows for rows, _ in best])
        if (rows == NO_ROW).any():
            raise_too_few(self._k)
        return Neighbours(rows, np.concatenate([scores for _, scores in best]))


class _Part:
    """Some of the queries, with the best k so far and candidates not yet merged with them."""

    def __init__(
        self, queries: Floats, lengths: NDArray[np.float64], k: int, exclude: NDArray[np.int64]
    ) -> None:
        self._float32 = np.ascontiguousarray(queries, dtype=np.float32)
        self._float64 = queries.astype(np.float64)
        self._lengths = lengths
        self._k = k
        self._exclude = exclude
        self._rows = np.full((len(queries), k), NO_ROW)
        self._scores = np.full((len(queries), k), -np.inf)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []

    def update(self, documents: NDArray[np.float32], longest: float, first_row: int, halves: bool) -> None:
        bounds = _error_bounds(self._lengths, longest, documents.shape[1])
        scores = self._float32 @ documents.T
        excluded = self._exclude - first_row
        inside = np.flatnonzero((excluded >= 0) & (excluded < len(documents)))
        scores[inside, excluded[inside]] = -np.inf

        floor = _round_down(self._scores[:, -1] - bounds)
        hits = scores >= floor[:, None]
        crowded = np.flatnonzero(np.count_nonzero(hits, axis=1) > self._k)
        if crowded.size:
            kth = scores[crowded]
            kth.partition(len(documents) - self._k, axis=1)
            block_floor = kth[:, len(documents) - self._k] - 2 * bounds[crowded]
            floor[crowded] = np.maximum(floor[crowded], _round_down(block_floor))
            hits[crowded] = scores[crowded] >= floor[crowded, None]
        query, document = np.divmod(np.flatnonzero(hits), len(documents))
        if not query.size:
            return
        del scores, hits

        any_order_is_exact = halves and float(self._lengths.max()) * longest <= 32
        rescored = _rescore(self._float64, documents, query, document, any_order_is_exact)
        rows = document + first_row
        kth, kth_row = self._scores[query, -1], self._rows[query, -1]
        better = (rescored > kth) | ((rescored == kth) & (rows < kth_row))
        self._pending.append((query[better], rows[better], rescored[better]))
        # Merging at every block would cost more than the few extra candidates that a late merge lets through.
        if sum(len(query) for query, _, _ in self._pending) >= self._rows.size:
            self._merge()

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._merge()
        return self._rows, self._scores

    def _merge(self) -> None:
        count = len(self._rows)
        own = np.repeat(np.arange(count), self._k)
        query = np.concatenate([own, *(query for query, _, _ in self._pending)])
        rows = np.concatenate([self._rows.ravel(), *(rows for _, rows, _ in self._pending)])
        scores = np.concatenate([self._scores.ravel(), *(scores for _, _, scores in self._pending)])
        self._pending = []
        order = np.lexsort((rows, -scores, query))
        sizes = np.bincount(query, minlength=count)
        starts = np.cumsum(sizes) - sizes
        best = order[(starts[:, None] + np.arange(self._k)).ravel()]
        self._rows = rows[best].reshape(count, self._k)
        self._scores = scores[best].reshape(count, self._k)


def _rescore(
    queries: NDArray[np.float64],
    documents: NDArray[np.float32],
    query: NDArray[np.int64],
    document: NDArray[np.int64],
    any_order_is_exact: bool,
) -> NDArray[np.float64]:
    """Float64 inner products of the pairs (query[i], document[i])."""
    scores = np.empty(len(query))
    step = max(1, _RESCORED // queries.shape[1])
    for at in range(0, len(query), step):
        left = queries[query[at : at + step]]
        right = documents[document[at : at + step]].astype(np.float64)
        if any_order_is_exact:
            np.vecdot(left, right, out=scores[at : at + step])
        else:
            scores[at : at + step] = sum_rows(np.multiply(left, right, out=right))
    scores += 0.0  # turns -0.0, whose sign depends on the order of summation, into 0.0
    return scores


def _error_bounds(lengths: NDArray[np.float64], longest: float, dimension: int) -> NDArray[np.float64]:
    """Upper bounds of |float32 score - float64 score| of each query and any document of a block."""
    # The roundings beyond one a term cover that of the float64 score and of the bound itself; the last
    # summand covers products that underflow, even where they are flushed to zero.
    return float32_error_share(dimension + 2) * lengths * longest + dimension * 2.0**-125


def _lengths(vectors: NDArray[np.float32], field: str, first_row: int) -> NDArray[np.float64]:
    """Upper bounds of the Euclidean length of each row."""
    # A sum of d float32 squares is low by at most the factor 1 - gamma_d, and by d 2^-126 where squares
    # underflow.
    dimension = vectors.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors).astype(np.float64)
        lengths = np.sqrt((squares + dimension * 2.0**-126) / (1 - float32_error_share(dimension + 2)))
        usable = lengths <= _LONGEST
    if not usable.all():
        row = first_row + int(np.argmin(usable))
        raise InvalidInput(
            f"{field} row {row} is not finite or longer than {_LONGEST:g}: remove or normalise it"
        )
    return np.asarray(lengths)


def _round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Float32 numbers that are certainly not above `values`, or _LOWEST where these are below it."""
    return np.nextafter(np.maximum(values, _LOWEST).astype(np.float32), np.float32(-np.inf))


def _documents_at_a_time(dimension: int) -> int:
    return max(1, min(_DOCUMENTS, _BLOCK_BYTES // (4 * dimension)))


def _matrix(vectors: Floats, field: str) -> Floats:
    if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32) or vectors.shape[1] == 0:
        raise InvalidInput(
            f"{field} have shape {vectors.shape} and dtype {vectors.dtype}: "
            "give (rows, dimension) in float16 or float32"
        )
    return vectors
