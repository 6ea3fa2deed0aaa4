"""The best documents so far, found through approximate scores whose errors are bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from store.search.neighbours import NO_ROW, Neighbours, raise_too_few

_LOWEST = -1e37  # below every score, above minus infinity
_WAITING = 1 << 20  # candidates that may wait for their float64 scores
_MERGED = 3  # times the results that may wait to be merged with them

Score: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""The float64 scores of pairs, given as places among the queries and rows of documents."""


class Best:
    """The k documents of largest score for each of some queries; among equal scores the smaller row is better.

    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.

    What an approximate score cannot rule out waits as a candidate. `settle` gives those that are still not
    ruled out then their float64 scores, and these decide: results do not depend on the approximation.
    """

    def __init__(self, k: int, exclude: NDArray[np.int64]) -> None:
        self._k = k
        self._exclude = exclude
        self._rows = np.full((len(exclude), k), NO_ROW)
        self._scores = np.full((len(exclude), k), -np.inf)
        # Ascending; each query has met k documents whose scores are not below these.
        self._lower = np.full((len(exclude), k), -np.inf, dtype=np.float32)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        self._settled: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        self._fresh: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def update(
        self, scores: NDArray[np.float32], bounds: NDArray[np.float64], first_row: int, score: Score
    ) -> None:
        """Meet documents of which the first is row `first_row`; each row once.

        scores: (documents, queries), no further than `bounds` (queries,) from the float64 scores; overwritten.
        score: for all documents met since `settle` was called last.
        """
        excluded = self._exclude - first_row
        inside = np.flatnonzero((excluded >= 0) & (excluded < len(scores)))
        scores[excluded[inside], inside] = -np.inf

        count = len(bounds)
        floor = round_down(self._lower[:, 0] - bounds)
        hits = scores >= floor
        flat = np.flatnonzero(hits)
        if len(flat) > self._k:
            crowded = np.flatnonzero(np.bincount(flat % count, minlength=count) > self._k)
            if crowded.size:
                theirs = scores[:, crowded].T.copy()
                kth = np.partition(theirs, len(scores) - self._k, axis=1)[:, len(scores) - self._k]
                floor[crowded] = np.maximum(floor[crowded], round_down(kth - 2 * bounds[crowded]))
                hits[:, crowded] = (theirs >= floor[crowded, None]).T
                flat = np.flatnonzero(hits)
        document, query = np.divmod(flat, count)
        near = scores.ravel()[flat]
        self._waiting.append((query, document + first_row, near + bounds[query]))
        self._fresh.append((query, near - bounds[query]))
        # Raising the floor each time would cost more than the few candidates that a late one lets through.
        if sum(len(query) for query, _ in self._fresh) >= self._lower.size:
            self._raise_floor()
        if sum(len(query) for query, _, _ in self._waiting) >= _WAITING:
            self.settle(score)

    def settle(self, score: Score) -> None:
        """Give the candidates that are still possible their float64 scores."""
        if not self._waiting:
            return
        self._raise_floor()
        query, row, upper = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        self._waiting = []
        possible = upper >= self._lower[query, 0]
        query, row = query[possible], row[possible]
        self._settled.append((query, row, score(query, row)))
        # Merging each time would cost as much as the scores.
        if sum(len(query) for query, _, _ in self._settled) >= _MERGED * self._rows.size:
            self._merge()

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(queries, k) rows and float64 scores of what is settled; NO_ROW where too few documents were met."""
        if self._settled:
            self._merge()
        return self._rows, self._scores

    def _merge(self) -> None:
        count = len(self._rows)
        own = np.repeat(np.arange(count), self._k)
        every = [(own, self._rows.ravel(), self._scores.ravel()), *self._settled]
        self._settled = []
        query, row, scores = (np.concatenate(column) for column in zip(*every, strict=True))
        order = np.lexsort((row, -scores, query))
        ends = np.cumsum(np.bincount(query, minlength=count))
        starts = np.concatenate([[0], ends[:-1]])
        best = order[starts[:, None] + np.arange(self._k)]
        self._rows, self._scores = row[best], scores[best]
        self._lower = np.maximum(self._lower, round_down(self._scores[:, ::-1]))

    def _raise_floor(self) -> None:
        if self._fresh:
            query, lower = (np.concatenate(column) for column in zip(*self._fresh, strict=True))
            self._fresh = []
            self._lower = _greatest(self._lower, query, round_down(lower))


def found_by(parts: Sequence[Best]) -> Neighbours:
    """What the parts of the queries have found; InvalidInput if some query has fewer than k documents."""
    rows, scores = (np.concatenate(column) for column in zip(*(part.result() for part in parts), strict=True))
    if (rows == NO_ROW).any():
        raise_too_few(rows.shape[1])
    return Neighbours(rows, scores, larger_is_better=True)


def round_down(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Float32 numbers that are certainly not above `values`, or -1e37 where these are below it."""
    rounded = np.maximum(values, _LOWEST).astype(np.float32)
    return np.asarray(np.nextafter(rounded, np.float32(-np.inf)))


def _greatest(
    known: NDArray[np.float32], query: NDArray[np.int64], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The k greatest of each query's known (queries, k) and new values, ascending."""
    count, k = known.shape
    query = np.concatenate([np.repeat(np.arange(count), k), query])
    # One sort of whole numbers, the query in their upper half, is several times faster than sorting by two keys.
    ordered = np.sort(query << 32 | _to_integers(np.concatenate([known.ravel(), values])))
    ends = np.cumsum(np.bincount(query, minlength=count))
    return _to_floats(ordered[ends[:, None] - k + np.arange(k)] & 0xFFFFFFFF)


def _to_integers(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers from 0 below 2^32 in the order of the float32 numbers."""
    bits = values.view(np.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64) + 2**31


def _to_floats(integers: NDArray[np.int64]) -> NDArray[np.float32]:
    bits = (integers - 2**31).astype(np.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(np.float32)
