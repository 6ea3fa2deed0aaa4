"""Exact top-k search by inner product: documents arrive in blocks, memory is bounded, the order is declared.

The order is total: the better score first, and among equal scores the smaller row. Results therefore do not
depend on how the documents were cut into blocks, nor on the order in which the blocks came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.best import Best, found_by
from store.search.neighbours import Neighbours, check_any, check_k, checked_exclude
from store.search.summation import float32_error_share, sum_rows
from store.search.vectors import Floats, checked_matrix
from store.threads import in_threads, parts_of

_LONGEST = 1e18  # beyond this length an inner product may overflow float32
_QUERIES = 1 << 9  # queries compared at a time
_DOCUMENTS = 1 << 12  # with so many documents
_ELEMENTS = 1 << 24  # of the documents whose float32 copies are held at once
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
      the score is the exact inner product in any order of summation.
    - otherwise: each product is exact in float64, and the products are added in one fixed order by
      element-wise additions. The score is within 1e-14 |q| |x| of the exact inner product; documents closer
      to each other than that are ordered by these rounded scores.

    Working memory is bounded by constants: 64 MiB for float32 copies of documents and, for each thread, 40 MB
    on ordinary data and 250 MB where all documents tie; and what the queries and their k results take.
    """

    def __init__(self, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> None:
        check_k(k)
        self._queries = checked_matrix(queries, "queries")
        check_any(self._queries)
        excluded = checked_exclude(exclude, len(queries))
        lengths = lengths_of(self._queries.astype(np.float32), "queries", 0)
        self._parts = [
            _Part(queries[some], lengths[some], Best(k, excluded[some]))
            for some in parts_of(len(queries), _QUERIES)
        ]

    def update(self, block: Floats, first_row: int) -> None:
        """Search (documents, dimension) float16 or float32 vectors, the first of which is row `first_row`.

        Each row is to be given once. Raises InvalidInput for another dimension and for rows that are not
        finite.
        """
        block = checked_matrix(block, "documents")
        halves = block.dtype == np.float16 and self._queries.dtype == np.float16
        self._update(block, first_row, lambda vectors: vectors, halves)

    def update_decoded(
        self, codes: NDArray[Any], first_row: int, decode: Callable[[NDArray[Any]], NDArray[np.float32]]
    ) -> None:
        """Search the vectors that (documents, …) codes decode to; `decode` is given a few thousand at a time."""
        self._update(codes, first_row, decode, halves=False)

    def _update(
        self, block: NDArray[Any], first_row: int, decode: Callable[[NDArray[Any]], Floats], halves: bool
    ) -> None:
        dimension = self._queries.shape[1]
        for some in parts_of(len(block), max(1, _ELEMENTS // dimension)):
            codes, row = block[some], first_row + some.start
            documents = np.empty((len(codes), dimension), dtype=np.float32)
            lengths = np.empty(len(codes))
            tiles = [slice(at, at + _DOCUMENTS) for at in range(0, len(codes), _DOCUMENTS)]
            in_threads(partial(_copy, codes, decode, row, documents, lengths), tiles)
            found = _Documents(documents, tiles, row, float(lengths.max()), halves)
            in_threads(partial(_Part.update, documents=found), self._parts)

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""
        return found_by([part.best for part in self._parts])


@dataclass(frozen=True)
class _Documents:
    """Documents whose float32 copies are held at once."""

    float32: NDArray[np.float32]
    tiles: list[slice]
    first_row: int
    longest: float
    halves: bool


class _Part:
    """Queries compared at a time."""

    def __init__(self, queries: Floats, lengths: NDArray[np.float64], best: Best) -> None:
        self._float32 = np.ascontiguousarray(queries, dtype=np.float32)
        self._float64 = queries.astype(np.float64)
        self._lengths = lengths
        self.best = best

    def update(self, documents: _Documents) -> None:
        dimension = self._float32.shape[1]
        bounds = error_bounds(self._lengths, documents.longest, dimension)
        any_order = documents.halves and float(self._lengths.max()) * documents.longest <= 32

        def score(query: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.float64]:
            place = row - documents.first_row
            return inner_products(
                self._float64, query, lambda some: documents.float32[place[some]], any_order
            )

        # One array for all tiles: mapping fresh memory for each would cost a third of the matrix product.
        buffer = np.empty((_DOCUMENTS, len(self._float32)), dtype=np.float32)
        for tile in documents.tiles:
            vectors = documents.float32[tile]
            scores = np.matmul(vectors, self._float32.T, out=buffer[: len(vectors)])
            self.best.update(scores, bounds, documents.first_row + tile.start, score)
        self.best.settle(score)


def _copy(
    codes: NDArray[Any],
    decode: Callable[[NDArray[Any]], Floats],
    first_row: int,
    documents: NDArray[np.float32],
    lengths: NDArray[np.float64],
    tile: slice,
) -> None:
    vectors = decode(codes[tile])
    if vectors.shape[1] != documents.shape[1]:
        raise InvalidInput(
            f"documents have dimension {vectors.shape[1]} and the queries {documents.shape[1]}: "
            "search vectors of one model"
        )
    documents[tile] = vectors
    lengths[tile] = lengths_of(documents[tile], "documents", first_row + tile.start)


def inner_products(
    queries: NDArray[np.float64],
    query: NDArray[np.int64],
    vectors: Callable[[slice], Floats],
    any_order_is_exact: bool,
) -> NDArray[np.float64]:
    """Float64 inner products of pairs.

    queries: (queries, dimension). query: (pairs,) the place of each pair's query. vectors: gives the documents
    of a slice of the pairs.
    """
    scores = np.empty(len(query))
    step = max(1, _RESCORED // queries.shape[1])
    for at in range(0, len(query), step):
        some = slice(at, at + step)
        left, right = queries[query[some]], vectors(some).astype(np.float64)
        if any_order_is_exact:
            np.vecdot(left, right, out=scores[some])
        else:
            scores[some] = sum_rows(np.multiply(left, right, out=right))
    scores += 0.0  # turns -0.0, whose sign depends on the order of summation, into 0.0
    return scores


def error_bounds(lengths: NDArray[np.float64], longest: float, terms: int) -> NDArray[np.float64]:
    """Upper bounds of |float32 score - float64 score| of each query and any document of a block.

    A score is a sum of `terms` products, at most |q| |x| in all.
    """
    # The roundings beyond one a term cover that of the float64 score and of the bound itself; the last
    # summand covers products that underflow, even where they are flushed to zero.
    return float32_error_share(terms + 2) * lengths * longest + terms * 2.0**-125


def lengths_of(vectors: NDArray[np.float32], field: str, first_row: int) -> NDArray[np.float64]:
    """Upper bounds of the Euclidean length of each row."""
    # A sum of d float32 squares is low by at most the factor 1 - gamma_d, and by d 2^-126 where squares
    # underflow.
    dimension = vectors.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.vecdot(vectors, vectors).astype(np.float64)
        lengths = np.sqrt((squares + dimension * 2.0**-126) / (1 - float32_error_share(dimension + 2)))
        usable = lengths <= _LONGEST
    if not usable.all():
        row = first_row + int(np.argmin(usable))
        raise InvalidInput(
            f"{field} row {row} is not finite or longer than {_LONGEST:g}: remove or normalise it"
        )
    return np.asarray(lengths)
