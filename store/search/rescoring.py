"""Re-scoring: a second stage ranks what a first, cheaper one has found.

The first stage takes the best `oversample × k` documents of each query; their scores with better vectors (the stored
ones, or decoded ones) decide which k are returned. One pass over the vectors serves every k and oversample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.neighbours import Neighbours
from store.search.summation import sum_rows
from store.search.vectors import Floats, check_vectors, row_blocks


class Rescorer:
    """Inner products of each query with its own candidates, while the documents arrive in blocks.

    queries: (queries, dimension) float16 or float32, finite.
    candidates: (queries, candidates) int64, document rows in the order of the first stage, none twice.

    Products are exact in float64 and are added in a fixed order, so scores depend on the two vectors alone; they
    equal those of `InnerProductTopK` on the same vectors. Working memory is that of candidates and scores, plus
    a block.
    """

    def __init__(self, queries: Floats, candidates: NDArray[np.int64]) -> None:
        check_vectors(queries)
        _check_candidates(candidates, len(queries))
        self._queries = queries.astype(np.float64)
        self._width = candidates.shape[1]
        pairs = candidates.ravel()
        self._order = np.argsort(pairs, kind="stable")
        self._rows = pairs[self._order]
        self._scores = np.full(pairs.shape, np.nan)

    def update(self, block: Floats, first_row: int) -> None:
        """Score (documents, dimension) vectors, the first of which is row `first_row`; each row once.

        Raises InvalidInput for vectors that are not finite or of another dimension than the queries.
        """
        dimension = self._queries.shape[1]
        check_vectors(block)
        if block.shape[1] != dimension:
            raise InvalidInput(
                f"documents have dimension {block.shape[1]} and the queries {dimension}: "
                "re-score with vectors of one model"
            )
        documents = block.astype(np.float32)
        start, stop = np.searchsorted(self._rows, [first_row, first_row + len(block)])
        for some in row_blocks(stop - start, dimension):
            here = slice(start + some.start, start + some.stop)
            pairs = self._order[here]
            terms = self._queries[pairs // self._width]
            terms *= documents[self._rows[here] - first_row]
            self._scores[pairs] = sum_rows(terms) + 0.0  # no score is -0.0

    def result(self) -> NDArray[np.float64]:
        """(queries, candidates) float64 scores; InvalidInput if a candidate was in no block."""
        if np.isnan(self._scores).any():
            row = self._rows[np.isnan(self._scores[self._order])][0]
            raise InvalidInput(f"candidates: document row {row} is in no block; give every block")
        return self._scores.reshape(-1, self._width)


def rescored(
    candidates: NDArray[np.int64], scores: NDArray[np.float64], k: int, oversample: int
) -> Neighbours:
    """The k best of each query's first `oversample × k` candidates (or of all, where these are fewer).

    candidates: (queries, candidates) int64, best of the first stage first. scores: those of the second stage.
    The larger score comes first, and among equal scores the smaller row.
    """
    if scores.shape != candidates.shape or candidates.ndim != 2:
        raise InvalidInput(
            f"scores have shape {scores.shape}: give one for each of {candidates.shape} candidates"
        )
    if not 1 <= k <= candidates.shape[1]:
        raise InvalidInput(f"k is {k}: give 1 … {candidates.shape[1]}, the number of candidates")
    if oversample < 1:
        raise InvalidInput(f"oversample is {oversample}: give at least 1")
    depth = min(oversample * k, candidates.shape[1])
    best = np.lexsort((candidates[:, :depth], -scores[:, :depth]), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(candidates, best, axis=1),
        np.take_along_axis(scores, best, axis=1),
        larger_is_better=True,
    )


def _check_candidates(candidates: NDArray[np.int64], queries: int) -> None:
    shape = candidates.shape
    if candidates.dtype.kind != "i" or candidates.ndim != 2 or shape[0] != queries or shape[1] == 0:
        raise InvalidInput(
            f"candidates have shape {shape} and dtype {candidates.dtype}: "
            f"give at least one row of a document, as an integer, for each of the {queries} queries"
        )
    ascending = np.sort(candidates, axis=1)
    if (ascending[:, 0] < 0).any():
        raise InvalidInput("candidates hold a negative row: give rows of documents")
    twice = (np.diff(ascending, axis=1) == 0).any(axis=1)
    if twice.any():
        raise InvalidInput(f"candidates of query {int(np.argmax(twice))} hold a row twice: give each once")
