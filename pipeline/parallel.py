"""Independent pieces of one stage side by side, one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import faiss

from pipeline.stage import Progress

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Cores that this process may use: where jobs are scheduled, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(work: Callable[[T], R], items: Sequence[T], what: str, at_once: int) -> list[R]:
    """``work`` of every item, in the order of the items, so many at once.

    The pieces are small, so threads inside them would mostly wait for one another; and what is computed by one thread
    does not depend on how many there are.
    """
    from threadpoolctl import threadpool_limits

    progress = Progress(what, len(items), "configurations")
    done = []
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(at_once, initializer=lambda: faiss.omp_set_num_threads(1)) as pool,
    ):
        for result in pool.map(work, items):
            done.append(result)
            progress.advance(1)
    return done
