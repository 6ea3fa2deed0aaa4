"""Work in threads: all of it is done, in order, errors come out, and libraries keep their settings afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from store.libraries import BLAS_THREADS, HAMMING_BATCH, openmp_threads
from store.threads import in_threads, overlapped, parts_of, rows_in_threads, side_by_side


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
    meeting = threading.Barrier(threads, timeout=60)  # passes only if so many parts are under way at once
    done = []
    with openmp_threads(threads):

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


def test_a_part_has_one_thread_to_itself() -> None:
    seen: list[int] = []
    with openmp_threads(2):
        in_threads(lambda part: seen.append(faiss.omp_get_max_threads()), range(4))
        assert faiss.omp_get_max_threads() == 2
    assert seen == [1, 1, 1, 1]


def test_configurations_come_back_in_their_order_each_computed_by_one_thread(
    capsys: pytest.CaptureFixture[str],
) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def work(item: int) -> tuple[int, int, int]:
        meeting.wait()
        return item, faiss.omp_get_max_threads(), blas_threads()

    with openmp_threads(2):
        found = list(side_by_side(work, range(4), "fit", 2))
    assert found == [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1)]
    assert capsys.readouterr().err == ""  # for what is done within seconds


def test_blas_has_its_threads_back_whichever_of_two_that_overlap_ends_last() -> None:
    usual = blas_threads()
    first, second = BLAS_THREADS.at(1), BLAS_THREADS.at(1)
    with ExitStack() as late:
        with first:
            late.enter_context(second)
            assert blas_threads() == 1
        assert blas_threads() == 1  # the second is still at work
    assert blas_threads() == usual


def test_a_block_within_another_leaves_the_setting_of_the_outer_one() -> None:
    options: Any = faiss.cvar
    usual = options.hamming_batch_size
    with HAMMING_BATCH.at(usual + 1):
        with HAMMING_BATCH.at(usual + 2):
            assert options.hamming_batch_size == usual + 2
        assert options.hamming_batch_size == usual + 1
        with pytest.raises(ValueError, match="inside"), HAMMING_BATCH.at(usual + 3):
            raise ValueError("inside")
        assert options.hamming_batch_size == usual + 1
    assert options.hamming_batch_size == usual


def test_faiss_has_its_batch_back_whichever_of_two_that_overlap_ends_last() -> None:
    options: Any = faiss.cvar
    usual = options.hamming_batch_size
    with ExitStack() as late:
        with HAMMING_BATCH.at(usual + 1):
            late.enter_context(HAMMING_BATCH.at(usual + 2))
        assert options.hamming_batch_size == usual + 2
    assert options.hamming_batch_size == usual


def test_items_are_taken_no_further_ahead_than_the_threads_need() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    found = overlapped(lambda item: item, items(), 3)
    assert [next(found) for _ in range(10)] == list(range(10))
    assert len(taken) <= 10 + 2 * 3
    found.close()


def test_the_first_error_ends_what_has_not_begun() -> None:
    begun, free = [], threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("item 1")
        if item > 1:
            free.wait(60)
        return item

    found = overlapped(work, range(100), 2)
    assert next(found) == 0
    release = threading.Timer(0.2, free.set)  # the error is met while items 2 and 3 are under way
    release.start()
    with pytest.raises(ValueError, match="item 1"):
        next(found)
    assert len(begun) < 100


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 57])
def test_rows_come_back_in_their_order(rows: int) -> None:
    values = np.arange(2 * rows).reshape(rows, 2)
    sizes = []

    def double(part: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes.append(len(part))
        return 2 * part

    np.testing.assert_array_equal(rows_in_threads(double, values, 10), 2 * values)
    assert max(sizes) <= 10
