"""ADC, asymmetric distance computation (Jégou, Douze & Schmid 2011, section III-A), for inner products.

A query stays uncompressed. For each part of it, a table holds its inner product with every centroid; the score of a
product-quantised document is the sum of the numbers that its code looks up.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.best import Best, found_by
from store.search.inner_product import error_bounds, inner_products, lengths_of
from store.search.neighbours import Neighbours, check_any, check_k, checked_exclude
from store.search.runs import Runs
from store.search.vectors import Floats, check_codes, checked_matrix
from store.threads import in_threads, parts_of

CENTROIDS = 256
"""Centroids of a quantiser: one byte of a code names one of them."""

ADC_WIDTH = 16
"""Dimensions a part from which on ADC is faster than decoding and a matrix product."""

_QUERIES = 1 << 7  # queries compared at a time
_DOCUMENTS = 1 << 12  # with so many documents


class ADCTopK:
    """The k documents of largest inner product, as of their decoded vectors, with each query.

    codebooks: (parts, 256, width) float16. queries: (queries, parts × width) float16 or float32.
    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.

    Scores and their order are those of `InnerProductTopK` on decoded vectors. Only the approximation
    that comes before float64 scores is another: the float32 sum of one number a part, from a table of the inner
    products of the query's parts with the centroids. By Cauchy-Schwarz the absolute values of the numbers add up to
    at most |q| |x|.
    """

    def __init__(
        self,
        codebooks: NDArray[np.float16],
        queries: Floats,
        k: int,
        exclude: NDArray[np.int64] | None = None,
    ) -> None:
        check_k(k)
        check_any(checked_matrix(queries, "queries"))
        parts, centroids, width = codebooks.shape
        dimension = parts * width
        if centroids != CENTROIDS:
            raise InvalidInput(
                f"codebooks have {centroids} centroids a part, not {CENTROIDS}: fit the quantiser again"
            )
        if queries.shape[1] != dimension:
            raise InvalidInput(
                f"documents have dimension {dimension} and the queries {queries.shape[1]}: "
                "search vectors of one model"
            )
        excluded = checked_exclude(exclude, len(queries))
        lengths = lengths_of(queries.astype(np.float32), "queries", 0)
        self._codebooks = codebooks
        self._runs = Runs(self._search, len(codebooks))
        self._parts = [
            _Part(codebooks, queries[some], lengths[some], Best(k, excluded[some]))
            for some in parts_of(len(queries), _QUERIES)
        ]

    def update(self, block: NDArray[np.uint8], first_row: int) -> None:
        """Search (documents, parts) uint8 codes, the first of which is row `first_row`; each row once."""
        check_codes(block, len(self._codebooks), np.uint8)
        self._runs.add(block, first_row)

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""
        self._runs.flush()
        return found_by([part.best for part in self._parts])

    def _search(self, codes: NDArray[np.uint8], first_row: int) -> None:
        in_threads(lambda part: part.update(codes, first_row), self._parts)


class _Part:
    """Queries compared at a time."""

    def __init__(
        self, codebooks: NDArray[np.float16], queries: Floats, lengths: NDArray[np.float64], best: Best
    ) -> None:
        self._codebooks = codebooks
        self._queries = queries.astype(np.float64)
        self.best = best
        squares = np.square(codebooks, dtype=np.float64).sum(axis=2)
        longest = 1.0001 * float(np.sqrt(squares.max(axis=1).sum()))
        self._bounds = error_bounds(lengths, longest, len(codebooks))
        self._halves = queries.dtype == np.float16 and float(lengths.max()) * longest <= 32

    def update(self, codes: NDArray[np.uint8], first_row: int) -> None:
        """Meet (documents, parts) uint8 codes of consecutive documents, contiguous in memory."""
        tables = self._tables()
        sums = _sums_of(tables)

        def score(query: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.float64]:
            place = row - first_row
            if self._halves:
                # No sum of looked-up numbers is rounded, as no sum of the products that they represent is.
                looked_up = (table[codes[place, part], query] for part, table in enumerate(tables))
                return sum(looked_up, np.zeros(len(row)))
            return inner_products(self._queries, query, lambda some: self._decoded(codes[place[some]]), False)

        scores = np.empty((_DOCUMENTS, len(self._queries)), dtype=np.float32)
        for at in range(0, len(codes), _DOCUMENTS):
            tile = codes[at : at + _DOCUMENTS]
            sums.decode_c(faiss.swig_ptr(tile), faiss.swig_ptr(scores), len(tile))
            self.best.update(scores[: len(tile)], self._bounds, first_row + at, score)
        self.best.settle(score)

    def _tables(self) -> NDArray[np.float64]:
        """(parts, centroids, queries) inner products. Kept no longer than a run: all queries' would be large."""
        parts, _, width = self._codebooks.shape
        queries = self._queries.reshape(-1, parts, width).transpose(1, 2, 0)
        return np.asarray(np.matmul(self._codebooks.astype(np.float64), queries))

    def _decoded(self, codes: NDArray[np.uint8]) -> NDArray[np.float16]:
        return self._codebooks[np.arange(len(self._codebooks)), codes].reshape(len(codes), -1)


def _sums_of(tables: NDArray[np.float64]) -> Any:
    """Faiss's additive quantiser, whose decoded vectors are a document's scores with all queries.

    tables: (parts, 256, queries). Other than NumPy's lookups, it lets other threads run and adds up one document's
    scores while they are in the cache.
    """
    parts, _, queries = tables.shape
    quantizer = faiss.ResidualQuantizer(queries, parts, 8)
    faiss.copy_array_to_vector(tables.astype(np.float32).ravel(), quantizer.codebooks)
    quantizer.is_trained = True
    return quantizer
