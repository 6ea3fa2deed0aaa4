"""Where the blocks of a stage are worked on: in this process, or by a Dask cluster.

A block's result is a function of its arguments, so that a worker that dies costs the blocks it held: Dask runs them
again elsewhere. Only the process of the stage writes.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import io
import itertools
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pipeline.code import PACKAGES
from store.errors import BitlakeError, InvalidInput, UnavailableResource
from store.layout import CHECKOUT
from store.leaf.reading import Leaf
from store.libraries import one_thread
from store.patience import CONNECT_SECONDS, READ_SECONDS, within
from store.revisions.reopening import travelling
from store.threads import cores

if TYPE_CHECKING:
    from distributed import Client, Future

R = TypeVar("R")

SCHEDULER = "DASK_SCHEDULER_ADDRESS"
"""The variable that Dask's own clients read too."""

DESERTED_SECONDS = 60.0
"""Until a scheduler whose workers have all gone is given up; others may come in that time."""

AHEAD = 2
"""Jobs in flight for each thread of the cluster: one that it works on, one that waits beside it."""

MOST_SEARCHES = 16
"""Searches that are put together side by side, each from its blocks: more would only hold more results at once."""

_LIBRARIES = ("faiss-cpu", "numpy")


class Engine(Protocol):
    """How the jobs of a stage are run."""

    @property
    def cuts(self) -> bool:
        """Whether one search is to be cut into blocks, since several can be worked on at once."""

    @property
    def at_once(self) -> int:
        """How many searches to run side by side."""

    def in_order(self, work: Callable[..., R], jobs: Iterable[tuple[Any, ...]], /) -> Iterable[R]:
        """The result of ``work`` for the arguments of each job, in the order of the jobs."""


class Threads:
    """This process: jobs one after the other, with the threads that the work itself uses."""

    cuts = False

    @property
    def at_once(self) -> int:
        return cores()

    def in_order(self, work: Callable[..., R], jobs: Iterable[tuple[Any, ...]], /) -> Iterable[R]:
        return itertools.starmap(work, jobs)


class Cluster:
    """Workers of Dask. A bounded number of jobs is in flight, however many threads of this process ask for results."""

    cuts = True

    def __init__(self, client: Client, where: str) -> None:
        self._client, self._where, self._identity = client, where, identity()
        threads = sum(self._workers().values())
        if not threads:
            raise UnavailableResource(
                f"{SCHEDULER}: {where} has no workers; start some, as in `dask worker {where} --nthreads 1`"
            )
        self._free = threading.BoundedSemaphore(AHEAD * threads)
        self.at_once = min(AHEAD * threads, MOST_SEARCHES)

    def in_order(self, work: Callable[..., R], jobs: Iterable[tuple[Any, ...]], /) -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        try:
            for job in jobs:
                # Who holds nothing waits for a free place; who holds something hands on what comes first.
                while not self._free.acquire(blocking=not waiting):
                    yield self._next(waiting)
                with self._explained():
                    waiting.append(
                        self._client.submit(_perform, self._identity, _packed(work, job), pure=False)
                    )
            while waiting:
                yield self._next(waiting)
        finally:
            for future in waiting:
                future.cancel()
                self._free.release()

    def _next(self, waiting: deque[Future[R]]) -> R:
        result = self._result(waiting[0])
        waiting.popleft().release()
        self._free.release()
        return result

    def _result(self, future: Future[R]) -> R:
        # Not `future.result(timeout)`, which gives up a result that is on its way, and may lose what was raised.
        loop: Any = self._client.loop
        with self._explained():
            gathering = self._client.gather(future, asynchronous=True)
            arriving = asyncio.run_coroutine_threadsafe(gathering, loop.asyncio_loop)
        deserted: float | None = None
        try:
            while not wait([arriving], timeout=DESERTED_SECONDS / 12).done:
                deserted = None if self._workers() else deserted or time.monotonic()
                if deserted is not None and time.monotonic() - deserted > DESERTED_SECONDS:
                    raise UnavailableResource(
                        f"{SCHEDULER}: {self._where} has lost all its workers; start some and run again"
                    )
            with self._explained(future):
                return cast(R, arriving.result())
        finally:
            arriving.cancel()

    def _workers(self) -> Mapping[str, int]:
        with self._explained():
            return workers(self._client, f"the scheduler {self._where}")

    @contextmanager
    def _explained(self, future: Future[R] | None = None) -> Iterator[None]:
        """What Dask raises, as one line for a person; what the work itself raises stays as it is."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            yield
        except BitlakeError:
            raise
        except KilledWorker as error:
            raise UnavailableResource(
                f"{SCHEDULER}: one block ended {error.allowed_failures + 1} workers of {self._where}; "
                "see their logs, give each more memory or fewer threads, and run again"
            ) from None
        except ModuleNotFoundError as error:
            if error.name not in PACKAGES:
                raise
            raise UnavailableResource(
                f"{SCHEDULER}: a worker of {self._where} does not know this project; install it there "
                "(`make analysis`) and start the worker with that environment"
            ) from None
        except (asyncio.CancelledError, CancelledError, FutureCancelledError, OSError):
            if future is not None and future.status == "error":
                raise
            raise UnavailableResource(
                f"{SCHEDULER}: {self._where} went away; see that it runs, and run the stage again"
            ) from None


@contextmanager
def open_engine() -> Iterator[Engine]:
    """The workers of the Dask scheduler that the environment names, or this process, until the block ends.

    Raises `UnavailableResource` within `CONNECT_SECONDS` or so where nobody answers, or nobody works there.
    """
    address = os.environ.get(SCHEDULER)
    if not address:
        yield Threads()
        return
    with _client(address) as client:
        yield Cluster(client, address)


@contextmanager
def _client(address: str) -> Iterator[Client]:
    from distributed import Client

    where = f"the scheduler {address}"
    try:
        within(CONNECT_SECONDS, where, lambda: asyncio.run(_greet(address)))
        client = within(
            CONNECT_SECONDS, where, lambda: Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        )
    except Exception:  # whatever another kind of server, or tls without certificates, makes of it
        raise UnavailableResource(
            f"{SCHEDULER}: nobody answers at {address}; start `dask scheduler` there (tls:// also needs its "
            "certificates in Dask's configuration), or unset the variable to compute here"
        ) from None
    try:
        deadline = time.monotonic() + CONNECT_SECONDS
        while not workers(client, where) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield client
    finally:
        # One that no longer answers is not told.
        with suppress(OSError):
            client.close(timeout=CONNECT_SECONDS)


async def _greet(address: str) -> None:
    """Shake hands: a client that meets no scheduler goes on trying, each of its steps as long as the whole may take."""
    from distributed import Security
    from distributed.comm.core import connect

    settings = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_SECONDS, **settings), CONNECT_SECONDS)
    await comm.close()


def workers(client: Client, where: str) -> Mapping[str, int]:
    """Threads of each worker, as the scheduler says. Raises `UnavailableResource` where it says nothing."""
    try:
        found: Mapping[str, int] = within(READ_SECONDS, where, client.nthreads)
    except TimeoutError:
        raise UnavailableResource(
            f"{SCHEDULER}: {where} has not answered for {READ_SECONDS} s; see that it runs, then run the "
            "stage again"
        ) from None
    return found


class _Pickler(pickle.Pickler):
    """Leaves travel as their place and identity."""

    def reducer_override(self, value: Any) -> Any:
        return travelling(value) if isinstance(value, Leaf) else NotImplemented


def _packed(work: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    # As bytes: Dask would look into arguments for tasks of its own.
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump((work, arguments))
    return stream.getvalue()


def _perform(expected: str, packed: bytes) -> Any:
    """Run a job in a worker, with one thread: a worker has as many threads of its own as it may use."""
    if identity() != expected:
        raise InvalidInput(
            f"{SCHEDULER}: a worker runs other code or other versions than this process; check out the same "
            "commit there, install it with `make analysis`, and start the worker again"
        )
    work, arguments = pickle.loads(packed)
    with one_thread():
        return work(*arguments)


@cache
def identity() -> str:
    """Digest of the code of this process and of the libraries that its results may depend on."""
    sha = hashlib.sha256()
    for name in _LIBRARIES:
        sha.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    for path in _modules():
        content = path.read_bytes()
        sha.update(f"{path.relative_to(CHECKOUT).as_posix()} {len(content)}\n".encode())
        sha.update(content)
    return sha.hexdigest()


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))
