"""A real cluster of two worker processes on the loopback address, and work for it whose runs leave traces."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from store.errors import InvalidInput
from tests.paths import ROOT


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[LocalCluster]:
    """A scheduler and workers of one thread each, every one a process; one that is killed is started again."""
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        if workers:
            cluster.wait_for_workers(workers, timeout=180)
        yield cluster


_SCHEDULER = """
from tests.pipeline.clusters import local_cluster

if __name__ == "__main__":
    with local_cluster(1) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


@contextlib.contextmanager
def cluster_of_another_process(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a scheduler with one worker, and its process, which can be stopped without ending it."""
    script = folder / "scheduler.py"
    script.write_text(_SCHEDULER)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate("\n", timeout=60)


def kill(pid: int) -> None:
    """End a process as the system does that has no memory left: without a word."""
    os.kill(pid, signal.SIGKILL)


def unused_address() -> str:
    """An address of this machine at which nobody answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


def traced_square(number: int, traces: Path, seconds: float) -> tuple[int, int]:
    """The square and this process, after a while; each run leaves a file."""
    traces.joinpath(f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return number * number, os.getpid()


def refuse(number: int) -> int:
    """Refuse every number but zero."""
    if number:
        raise InvalidInput(f"number {number}: give 0")
    return 0


def missing_file(path: str) -> str:
    """Fail as any code does that opens what is not there."""
    return Path(path).read_text()


def out_of_time(number: int) -> int:
    """Fail as code does that waits for something."""
    raise TimeoutError("of the work")


def end_the_process(number: int) -> int:
    """End whichever process this runs in."""
    os._exit(1)


def threads_of_this_process(number: int) -> list[int]:
    """How many threads each library that has threads of its own would use here."""
    import faiss
    from threadpoolctl import threadpool_info

    return [faiss.omp_get_max_threads(), *(pool["num_threads"] for pool in threadpool_info())]


def held(value: Any) -> Any:
    """The value itself, for whoever asks what travelled."""
    return value
