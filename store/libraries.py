"""Settings that libraries keep for a whole process or thread, changed for a while and then put back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Generic, TypeVar

import faiss

V = TypeVar("V")

_FAISS: Any = faiss.cvar


class ProcessSetting(Generic[V]):
    """A setting of the process, which blocks of several threads may change at once.

    The last of them to end puts it back. None of them could put back what it found, since another may have changed it
    before; so each that ends leaves the value of the block that began last of those that go on.

    change: makes the setting a value and returns what undoes that.
    """

    def __init__(self, change: Callable[[V], Callable[[], object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._values: dict[object, V] = {}
        self._undo: Callable[[], object] = lambda: None

    @contextmanager
    def at(self, value: V) -> Iterator[None]:
        """Have the setting at `value`, unless another block changes it meanwhile."""
        block = object()
        with self._lock:
            undo = self._change(value)
            if not self._values:
                self._undo = undo
            self._values[block] = value
        try:
            yield
        finally:
            with self._lock:
                del self._values[block]
                if self._values:
                    self._change(next(reversed(self._values.values())))
                else:
                    self._undo()


def _set_hamming_batch(codes: int) -> Callable[[], object]:
    before = _FAISS.hamming_batch_size
    _FAISS.hamming_batch_size = codes
    return lambda: setattr(_FAISS, "hamming_batch_size", before)


def _limit_blas(threads: int) -> Callable[[], object]:
    limiter = _pools().limit(limits=threads, user_api="blas")
    return lambda: limiter.restore_original_limits()


HAMMING_BATCH = ProcessSetting(_set_hamming_batch)
"""How many codes Faiss compares with each query before it goes on to more; results do not depend on it."""

BLAS_THREADS = ProcessSetting(_limit_blas)
"""Threads of every BLAS that is loaded: each has one number for the process."""


@contextmanager
def openmp_threads(threads: int) -> Iterator[None]:
    """Have Faiss use so many threads where the calling thread calls it: OpenMP keeps the number by thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have all that the calling thread calls use one thread, and BLAS use one in the whole process."""
    with _pools().limit(limits=1, user_api="openmp"), BLAS_THREADS.at(1):
        yield


def stay_at_one_openmp_thread() -> None:
    """Have all that the calling thread calls until it ends use one thread of OpenMP: how a thread of a pool begins."""
    _pools().limit(limits=1, user_api="openmp")


def _pools() -> Any:
    return _pools_of(len(sys.modules))


@lru_cache(maxsize=1)
def _pools_of(modules: int) -> Any:
    """The thread pools of the libraries that are loaded. Others are loaded with further modules only."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
