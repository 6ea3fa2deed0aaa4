"""Neighbours of Phase-1 codes: by distance, then row, for any blocks and threads."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.codecs import phase1
from store.codecs.phase1 import hamming_top_k
from store.errors import InvalidInput
from store.libraries import openmp_threads
from tests.counts import count
from tests.oracles.phase1 import sorted_neighbours


def random_codes(rows: int, width: int, distinct: int, seed: int) -> NDArray[np.uint8]:
    """Codes drawn from ``distinct`` patterns, so that few patterns mean many duplicates and ties."""
    state = np.random.RandomState(seed)
    patterns = state.randint(0, 256, size=(distinct, width)).astype(np.uint8)
    return patterns[state.randint(distinct, size=rows)]


def assert_neighbours(queries: NDArray[np.uint8], documents: NDArray[np.uint8], k: int) -> None:
    distances, rows = hamming_top_k(queries, documents, k)
    expected_distances, expected_rows = sorted_neighbours(queries, documents, k)
    assert [distances.dtype.name, rows.dtype.name] == ["int32", "int64"]
    np.testing.assert_array_equal(distances, expected_distances)
    np.testing.assert_array_equal(rows, expected_rows)


@settings(max_examples=count(full=1500, quick=200), deadline=None)
@given(
    width=st.sampled_from([1, 3, 4, 8, 16, 20, 32, 48, 64, 96]),
    documents=st.integers(1, 200),
    queries=st.integers(0, 6),
    distinct=st.integers(1, 60),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_neighbours_are_sorted_by_distance_then_row(
    width: int, documents: int, queries: int, distinct: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.one_of(st.just(documents), st.just(max(1, documents - 1)), st.integers(1, documents)))
    stored = random_codes(documents, width, distinct, seed)
    asked = random_codes(queries, width, distinct, seed + data.draw(st.integers(0, 1)))
    assert_neighbours(asked, stored, k)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 3, 8, 16, 32, 48, 64])
def test_neighbours_for_every_thread_count(width: int, threads: int) -> None:
    with openmp_threads(threads):
        stored = random_codes(3000, width, 500, width)
        assert_neighbours(random_codes(11, width, 500, width), stored, 100)


def test_ties_across_faiss_blocks_of_documents() -> None:
    """Faiss scans 65,536 documents at a time; the nearest come last and tie with the first."""
    documents = np.full((140_000, 8), 255, np.uint8)
    documents[[5, 65_535, 65_536, 139_999]] = 0
    documents[[70_000, 139_998]] = [0, 0, 0, 0, 0, 0, 0, 1]
    distances, rows = hamming_top_k(np.zeros((2, 8), np.uint8), documents, 9)
    np.testing.assert_array_equal(rows, [[5, 65_535, 65_536, 139_999, 70_000, 139_998, 0, 1, 2]] * 2)
    np.testing.assert_array_equal(distances, [[0, 0, 0, 0, 1, 1, 64, 64, 64]] * 2)


def test_query_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, asked = random_codes(300, 8, 40, 0), random_codes(23, 8, 40, 0)
    for counter_bytes in (1, 8 * 65 * 10 * 7):
        monkeypatch.setattr(phase1, "_COUNTER_BYTES", counter_bytes)
        assert_neighbours(asked, stored, 10)


def test_prefixes_and_read_only_codes_search_alike() -> None:
    stored = random_codes(200, 64, 200, 1)
    stored.flags.writeable = False
    assert_neighbours(stored[:9, :8], stored[:, :8], 20)
    assert_neighbours(stored[::40], stored, 20)


def test_documents_are_not_copied() -> None:
    stored = np.zeros((400_000, 32), np.uint8)
    tracemalloc.start()
    hamming_top_k(stored[:2], stored, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < stored.nbytes / 20


def codes_of(rows: int, width: int) -> NDArray[np.uint8]:
    return np.zeros((rows, width), np.uint8)


@pytest.mark.parametrize(
    ("queries", "documents", "k", "message"),
    [
        (codes_of(1, 8), codes_of(5, 8), 6, "k: expected 1 … 5, the number of documents, got 6"),
        (codes_of(1, 8), codes_of(5, 8), 0, "k: expected 1 … 5, the number of documents, got 0"),
        (codes_of(1, 8), codes_of(5, 8), 2.0, r"k: expected 1 … 5, the number of documents, got 2\.0"),
        (codes_of(1, 8), codes_of(0, 8), 1, "k: expected 1 … 0, the number of documents, got 1"),
        (
            codes_of(1, 4),
            codes_of(5, 8),
            1,
            r"queries: expected codes as long as the documents' \(8 bytes\), got 4",
        ),
        (codes_of(1, 0), codes_of(5, 0), 1, r"queries: expected codes as long as the documents' \(0 bytes\)"),
        (
            codes_of(1, 8).astype(np.int8),
            codes_of(5, 8),
            1,
            r"queries: expected a 2-D uint8 .*, got int8 \(1, 8\)",
        ),
        (codes_of(1, 8), codes_of(5, 8)[0], 1, r"documents: expected a 2-D uint8 .*, got uint8 \(8,\)"),
        (codes_of(1, 8), [[1]], 1, "documents: expected a 2-D uint8 .*, got list"),
    ],
)
def test_refused_search_input(queries: Any, documents: Any, k: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        hamming_top_k(queries, documents, k)


def test_k_beyond_the_counters_of_faiss_is_refused() -> None:
    documents = np.broadcast_to(np.zeros((1, 4096), np.uint8), (70_000, 4096))
    with pytest.raises(InvalidInput, match=r"^k: at most 65534 for codes of 4096 bytes, got 65535"):
        hamming_top_k(documents[:1], documents, 65_535)
