"""Exact Hamming search over codes that arrive in blocks, and what is needed to judge its ties.

The order is total: the smaller distance first, and among equal distances the smaller row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import faiss
import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.libraries import HAMMING_BATCH
from store.search.neighbours import Neighbours, check_any, check_k, checked_exclude, raise_too_few
from store.search.runs import Runs
from store.threads import in_threads, parts_of

_QUERIES = 1 << 6  # queries compared at a time
_BYTES = 1 << 19  # with codes of so many bytes, which stay in the second-level cache
_CODES = 1 << 13  # or with so many codes, where all distances are kept: these stay there
_ROW_BITS = 40  # of a key; the distance is above them
_NO_KEY = np.iinfo(np.int64).max  # larger than every key
_MOST_BYTES = 8191  # their distances are below 2^16


class HammingTopK:
    """The k documents of smallest Hamming distance to each query.

    query_codes: (queries, bytes) uint8, at most 8,191 bytes.
    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.

    Faiss finds the best k of a run of codes with a heap ordered by distance and then by row, so that
    among equal distances the smaller rows stay. Working memory is 33 MB for a run, plus what the queries take and
    six times their k results.
    """

    def __init__(
        self, query_codes: NDArray[np.uint8], k: int, exclude: NDArray[np.int64] | None = None
    ) -> None:
        check_k(k)
        self._queries = np.ascontiguousarray(_codes(query_codes, "query codes"))
        check_any(self._queries)
        self._k = k
        self._exclude = checked_exclude(exclude, len(query_codes))
        self._keys = np.full((len(query_codes), k), _NO_KEY)
        self._runs = Runs(self._search, query_codes.shape[1])

    def update(self, block: NDArray[np.uint8], first_row: int) -> None:
        """Search (documents, bytes) uint8 codes, the first of which is row `first_row`; each row once."""
        self._runs.add(_same_width(block, self._queries), first_row)

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""
        self._runs.flush()
        if (self._keys == _NO_KEY).any():
            raise_too_few(self._k)
        distances = (self._keys >> _ROW_BITS).astype(np.int32)
        return Neighbours(self._keys & ((1 << _ROW_BITS) - 1), distances, larger_is_better=False)

    def _search(self, codes: NDArray[np.uint8], first_row: int) -> None:
        # Few queries at a time, each part by one thread: heaps stay in the cache, and no core waits for a slower one.
        with HAMMING_BATCH.at(max(1, _BYTES // codes.shape[1])):
            in_threads(partial(self._search_part, codes, first_row), parts_of(len(self._queries), _QUERIES))

    def _search_part(self, codes: NDArray[np.uint8], first_row: int, some: slice) -> None:
        excluded = self._exclude[some] - first_row
        one_more = bool(((excluded >= 0) & (excluded < len(codes))).any())
        distances, rows = faiss.knn_hamming(self._queries[some], codes, self._k + one_more)
        keys = distances.astype(np.int64) << _ROW_BITS | rows + first_row
        # Faiss gives row -1 where the run has too few codes.
        keys[(rows < 0) | (rows == excluded[:, None])] = _NO_KEY
        best = np.concatenate([self._keys[some], keys], axis=1)
        best.sort(axis=1)
        self._keys[some] = best[:, : self._k]


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
    padded = _whole_words(queries)
    radii = distances.max(axis=1, initial=-1).astype(np.int32)
    at_distance = np.zeros((len(queries), int(radii.max(initial=-1)) + 1), dtype=np.int32)
    for first_row, block in blocks:
        codes = _same_width(block, queries)

        def count(some: slice, codes: NDArray[np.uint8] = codes, first_row: int = first_row) -> None:
            for at, tile in _tiles(codes):
                found = _distances(padded[some], tile, excluded[some] - first_row - at)
                flat = np.flatnonzero(found <= radii[some, None])
                np.add.at(at_distance[some], (flat // len(tile), found.ravel()[flat]), 1)

        in_threads(count, parts_of(len(queries), _QUERIES))
    below = np.cumsum(at_distance, axis=1, dtype=np.int32)
    tied = np.take_along_axis(at_distance, distances, axis=1)
    return np.take_along_axis(below, distances, axis=1) - tied, tied


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


def _tiles(codes: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The codes a tile at a time, filled up to whole words, each with the place of its first."""
    for at in range(0, len(codes), _CODES):
        yield at, _whole_words(codes[at : at + _CODES])


def _whole_words(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The codes, contiguous, with zeros up to the next multiple of eight bytes: distances stay what they are."""
    width = codes.shape[1]
    if width % 8:
        codes = np.pad(codes, ((0, 0), (0, -width % 8)))
    return np.ascontiguousarray(codes)


def _distances(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], exclude: NDArray[np.int64]
) -> NDArray[np.int32]:
    """(queries, codes) Hamming distances between whole words; excluded pairs get one beyond the largest."""
    distances = np.empty((len(queries), len(codes)), dtype=np.int32)
    faiss.hammings(  # type: ignore[attr-defined]
        faiss.swig_ptr(queries),
        faiss.swig_ptr(codes),
        len(queries),
        len(codes),
        codes.shape[1],
        faiss.swig_ptr(distances),
    )
    inside = np.flatnonzero((exclude >= 0) & (exclude < len(codes)))
    distances[inside, exclude[inside]] = 8 * codes.shape[1] + 1
    return distances


def _codes(codes: NDArray[np.uint8], field: str) -> NDArray[np.uint8]:
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] == 0:
        raise InvalidInput(
            f"{field} have shape {codes.shape} and dtype {codes.dtype}: give (rows, bytes) in uint8"
        )
    if codes.shape[1] > _MOST_BYTES:
        raise InvalidInput(f"{field} have {codes.shape[1]} bytes: give at most {_MOST_BYTES}")
    return codes


def _same_width(codes: NDArray[np.uint8], queries: NDArray[np.uint8]) -> NDArray[np.uint8]:
    codes = _codes(codes, "document codes")
    if codes.shape[1] != queries.shape[1]:
        raise InvalidInput(
            f"document codes have {codes.shape[1]} bytes and query codes {queries.shape[1]}: "
            "compare codes of one codec and one length"
        )
    return codes
