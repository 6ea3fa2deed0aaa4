"""Parts of one piece of work, computed side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def in_threads(work: Callable[[T], object], parts: Sequence[T]) -> None:
    """``work`` of every part, as many at a time as this thread may use threads of OpenMP.

    That is all cores unless OMP_NUM_THREADS or ``faiss.omp_set_num_threads`` says otherwise. Parts are to share
    nothing that they write to: then the result does not depend on the number of threads.
    """
    threads = min(faiss.omp_get_max_threads(), len(parts))
    if threads <= 1:
        for part in parts:
            work(part)
        return
    # Threads inside the parts would only wait for one another.
    with (
        _blas().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(threads, initializer=partial(faiss.omp_set_num_threads, 1)) as pool,
    ):
        for _ in pool.map(work, parts):
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


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
