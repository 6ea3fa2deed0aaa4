"""Parts side by side: all of the work is done, errors come out, and BLAS keeps its threads afterwards."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from store.threads import in_threads, parts_of, rows_in_threads


@given(st.integers(0, 10_000), st.integers(1, 600))
def test_parts_cover_everything_once(items: int, most: int) -> None:
    parts = parts_of(items, most)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(items))
    assert all(0 < part.stop - part.start <= most for part in parts)


def blas_threads() -> int:
    """Threads of the library that NumPy's matrix products use."""
    (numpy,) = (pool for pool in threadpool_info() if "numpy" in pool["filepath"])
    return int(numpy["num_threads"])


@pytest.mark.parametrize("threads", [1, 2])
def test_every_part_is_worked_on_side_by_side(threads: int) -> None:
    before = faiss.omp_get_max_threads()
    meeting = threading.Barrier(threads, timeout=60)  # passes only if so many parts are under way at once
    done = []
    try:
        faiss.omp_set_num_threads(threads)

        def work(part: int) -> None:
            meeting.wait()
            done.append((part, blas_threads()))

        blas = blas_threads()
        in_threads(work, range(4))
        assert sorted(part for part, _ in done) == [0, 1, 2, 3]
        if threads > 1:
            assert {limit for _, limit in done} == {1}
        assert blas_threads() == blas

        def fail(part: int) -> None:
            raise ValueError(f"part {part}")

        with pytest.raises(ValueError, match="part 0"):
            in_threads(fail, range(2))
    finally:
        faiss.omp_set_num_threads(before)


def test_a_part_has_one_thread_to_itself() -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    seen: list[int] = []
    try:
        in_threads(lambda part: seen.append(faiss.omp_get_max_threads()), range(4))
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
    assert seen == [1, 1, 1, 1]


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 57])
def test_rows_come_back_in_their_order(rows: int) -> None:
    values = np.arange(2 * rows).reshape(rows, 2)
    sizes = []

    def double(part: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes.append(len(part))
        return 2 * part

    np.testing.assert_array_equal(rows_in_threads(double, values, 10), 2 * values)
    assert max(sizes) <= 10
