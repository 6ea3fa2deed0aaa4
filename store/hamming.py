"""Exact Hamming search over codes that arrive in blocks, and what is needed to judge its ties.

The order is total, as in `store.search`: the smaller distance first, and among equal distances the smaller row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from store.codecs import phase1
from store.errors import InvalidInput
from store.neighbours import NO_ROW, Neighbours, check_any, check_k, checked_exclude, raise_too_few

_CODES = 1 << 16  # codes searched at a time
_COUNTED = 1 << 14  # codes compared at a time when counting ties
_PAIRS = 1 << 20  # pairs that may be listed at once when counting ties
_ROW_BITS = 40  # of a key; the distance stands above them


class HammingTopK:
    """The k documents of smallest Hamming distance to each query.

    query_codes: (queries, bytes) uint8.
    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.
    """

    def __init__(
        self, query_codes: NDArray[np.uint8], k: int, exclude: NDArray[np.int64] | None = None
    ) -> None:
        check_k(k)
        self._queries = _codes(query_codes, "query codes")
        check_any(self._queries)
        self._k = k
        self._exclude = checked_exclude(exclude, len(query_codes))
        self._keys = np.full((len(query_codes), k), NO_ROW)

    def update(self, block: NDArray[np.uint8], first_row: int) -> None:
        """Search (documents, bytes) uint8 codes, the first of which is row `first_row`; each row once."""
        block = _same_width(block, self._queries)
        for at in range(0, len(block), _CODES):
            self._update(block[at : at + _CODES], first_row + at)

    def _update(self, block: NDArray[np.uint8], first_row: int) -> None:
        wanted = self._k + bool((self._exclude >= 0).any())
        distances, rows = phase1.hamming_top_k(self._queries, block, min(wanted, len(block)))
        rows = rows + first_row
        keys = (distances.astype(np.int64) << _ROW_BITS) | rows
        keys[rows == self._exclude[:, None]] = NO_ROW
        self._keys = np.sort(np.concatenate([self._keys, keys], axis=1), axis=1)[:, : self._k]

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""
        if (self._keys == NO_ROW).any():
            raise_too_few(self._k)
        distances = (self._keys >> _ROW_BITS).astype(np.int32)
        return Neighbours(self._keys & ((1 << _ROW_BITS) - 1), distances)


def hamming_ties(
    query_codes: NDArray[np.uint8],
    blocks: Iterable[tuple[int, NDArray[np.uint8]]],
    kth_distances: NDArray[np.int32],
    exclude: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """How many documents are closer than, and how many exactly at, given distances from each query.

    query_codes: (queries, bytes) uint8. blocks: (first row, (documents, bytes) uint8 codes), each row once.
    kth_distances: (queries, ranks) int32, usually the distance at each rank of interest.
    exclude: (queries,) int64, the document row to leave out of each query's counts, or -1.
    Returns (closer, tied), both (queries, ranks) int32.
    """
    queries = _codes(query_codes, "query codes")
    distances = np.asarray(kth_distances)
    bits = 8 * queries.shape[1]
    if distances.ndim != 2 or len(distances) != len(queries):
        raise InvalidInput(
            f"kth distances have shape {distances.shape}: give one row for each of the {len(queries)} queries"
        )
    if distances.size and not (distances.min() >= 0 and distances.max() <= bits):
        raise InvalidInput(
            f"kth distances reach beyond 0 … {bits}: give distances between codes of {bits} bits"
        )
    excluded = checked_exclude(exclude, len(queries))
    closer = np.zeros(distances.shape, dtype=np.int32)
    tied = np.zeros(distances.shape, dtype=np.int32)
    radii = distances.max(axis=1, initial=-1)
    groups = [np.flatnonzero(radii == radius) for radius in np.unique(radii)]
    for first_row, block in blocks:
        codes = _same_width(block, queries)
        for at in range(0, len(codes), _COUNTED):
            index = faiss.IndexBinaryFlat(bits)
            index.add(codes[at : at + _COUNTED])
            for group in groups:
                for some in np.array_split(group, -(-len(group) * _COUNTED // _PAIRS)):
                    near = _within(index, queries[some], int(radii[some[0]]), excluded[some] - first_row - at)
                    more = _counts(near, distances[some])
                    closer[some] += more[0]
                    tied[some] += more[1]
    return closer, tied


def paired_hamming(
    query_codes: NDArray[np.uint8], blocks: Iterable[tuple[int, NDArray[np.uint8]]], rows: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Hamming distance of pairs: (pairs, bytes) uint8 query codes, and for each the row of its document in `blocks`.

    Returns (pairs,) int32. Raises InvalidInput for a row that no block holds.
    """
    queries = _codes(query_codes, "query codes")
    distances = np.full(len(queries), -1, dtype=np.int32)
    for first_row, block in blocks:
        codes = _same_width(block, queries)
        here = np.flatnonzero((rows >= first_row) & (rows < first_row + len(codes)))
        differing = np.bitwise_xor(queries[here], codes[rows[here] - first_row])
        distances[here] = np.bitwise_count(differing).sum(axis=1, dtype=np.int32)
    if (distances < 0).any():
        raise InvalidInput(
            f"rows: document row {rows[distances < 0][0]} is in no block; give every block of the codes"
        )
    return distances


def _within(
    index: Any, queries: NDArray[np.uint8], radius: int, exclude: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Query and distance of each pair no further apart than `radius`."""
    # Faiss keeps the distances strictly below the given one.
    limits, distances, rows = index.range_search(queries, radius + 1)
    query = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    keep = rows != exclude[query]
    return query[keep], distances[keep].astype(np.int32)


def _counts(
    near: tuple[NDArray[np.int64], NDArray[np.int32]], thresholds: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each query and threshold, the pairs below it and the pairs at it."""
    query, distances = near
    width = int(thresholds.max(initial=0)) + 2
    histogram = np.bincount(query * width + distances, minlength=len(thresholds) * width)
    below = np.cumsum(histogram.reshape(len(thresholds), width), axis=1)
    at = np.take_along_axis(np.diff(below, axis=1, prepend=0), thresholds, axis=1)
    return np.take_along_axis(below, thresholds, axis=1) - at, at


def _codes(codes: NDArray[np.uint8], field: str) -> NDArray[np.uint8]:
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] == 0:
        raise InvalidInput(
            f"{field} have shape {codes.shape} and dtype {codes.dtype}: give (rows, bytes) in uint8"
        )
    return np.ascontiguousarray(codes)


def _same_width(codes: NDArray[np.uint8], queries: NDArray[np.uint8]) -> NDArray[np.uint8]:
    codes = _codes(codes, "document codes")
    if codes.shape[1] != queries.shape[1]:
        raise InvalidInput(
            f"document codes have {codes.shape[1]} bytes and query codes {queries.shape[1]}: "
            "compare codes of one codec and one length"
        )
    return codes
