"""Pieces of work in threads of this process: every pool of threads is opened here.

`side_by_side`, `in_threads` and `rows_in_threads` are for computing: each piece has one thread, since threads inside
the pieces would only wait for one another. What is computed by one thread does not depend on how many there are.
`overlapped` is for work that waits, such as for a server, or that limits its own threads.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from store.libraries import BLAS_THREADS, stay_at_one_openmp_thread
from store.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2


def cores() -> int:
    """Cores that this process may use: where jobs are scheduled, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def overlapped(
    work: Callable[[T], R], items: Iterable[T], at_once: int, begin: Callable[[], object] = lambda: None
) -> Generator[R]:
    """``work`` of every item, in the order of the items, so many at once; the first error ends what has not begun.

    begin: called by each thread before its first item. Items are taken, and results wait, twice as far ahead as pieces
    are worked on at once: memory does not grow with the number of items.
    """
    pool = ThreadPoolExecutor(at_once, initializer=begin)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == _AHEAD * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Whoever stops what waits for a server does not want to wait for it.
        pool.shutdown(wait=not isinstance(sys.exception(), KeyboardInterrupt), cancel_futures=True)


def side_by_side(work: Callable[[T], R], items: Sequence[T], what: str, at_once: int) -> Iterator[R]:
    """``work`` of every item, in the order of the items, so many at once, with progress on the terminal.

    what: what the work is called there; an item is a configuration.
    """
    with Progress(what, len(items), "configurations") as progress:
        yield from progress.count(_computed(work, items, at_once))


def in_threads(work: Callable[[T], object], parts: Sequence[T]) -> None:
    """``work`` of every part, as many at a time as this thread may use threads of OpenMP.

    That is all cores unless OMP_NUM_THREADS or `store.libraries.openmp_threads` says otherwise. Parts are to share
    nothing that they write to: then the result does not depend on the number of threads.
    """
    threads = min(faiss.omp_get_max_threads(), len(parts))
    if threads <= 1:
        for part in parts:
            work(part)
        return
    for _ in _computed(work, parts, threads):
        pass


def rows_in_threads(
    work: Callable[[NDArray[Any]], NDArray[Any]], rows: NDArray[Any], most: int
) -> NDArray[Any]:
    """``work`` of all rows, by parts of at most ``most`` rows; it gives for each row a row."""
    parts = parts_of(len(rows), most)
    if len(parts) <= 1:
        return work(rows)
    found: dict[int, NDArray[Any]] = {}

    def one(part: slice) -> None:
        found[part.start] = work(rows[part])

    in_threads(one, parts)
    return np.concatenate([found[part.start] for part in parts])


def parts_of(items: int, most: int) -> list[slice]:
    """Slices of at most `most` items each and of about equal size, for `in_threads`."""
    threads = faiss.omp_get_max_threads()
    count = max(1, min(items, -(-items // (most * threads)) * threads))
    edges = [items * part // count for part in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if stop > start]


def _computed(work: Callable[[T], R], items: Sequence[T], at_once: int) -> Iterator[R]:
    with BLAS_THREADS.at(1):
        yield from overlapped(work, items, at_once, stay_at_one_openmp_thread)
