"""Jobs in this process and on a cluster of two processes: order, bounds, deaths, and what a person is told."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from pipeline import executors as engine
from pipeline.executors import AHEAD, Cluster, Engine, Threads, open_engine
from store import patience
from store.artifacts.embeddings import EMBEDDINGS
from store.errors import InvalidInput, UnavailableResource
from store.layout import Layout
from store.leaf.reading import Leaf, open_leaf
from tests.pipeline import clusters
from tests.silent_servers import silent_server
from tests.store.lakes import CELL, commit_embeddings


@pytest.fixture(autouse=True)
def time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other work a worker may need a while to answer."""
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 60.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with clusters.local_cluster(2) as found:
        yield found


@pytest.fixture
def workers(cluster: LocalCluster) -> Iterator[Engine]:
    cluster.wait_for_workers(2, timeout=180)
    with engine_at(cluster.scheduler_address) as found:
        yield found


@contextmanager
def engine_at(address: str) -> Iterator[Engine]:
    """The engine where the environment names a scheduler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_SCHEDULER_ADDRESS", address)
        with open_engine() as found:
            yield found


@pytest.mark.parametrize("address", [None, ""])
def test_threads_work_in_this_process_one_job_after_the_other(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    with open_engine() as found:
        assert isinstance(found, Threads)
        assert not found.cuts
        results = iter(found.in_order(clusters.held, ((number,) for number in itertools.count())))
        assert [next(results) for _ in range(3)] == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_only_cores_that_may_be_used_are_counted() -> None:
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code = f"{bound}; from pipeline.executors import Threads; print(Threads().at_once)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_results_come_in_the_order_of_the_jobs_from_both_workers(workers: Engine, tmp_path: Path) -> None:
    # The first of every pair takes longer, so that results are ready in another order.
    jobs = [(number, tmp_path, 0.05 if number % 2 == 0 else 0.0) for number in range(16)]
    results = list(workers.in_order(clusters.traced_square, jobs))
    assert [square for square, _ in results] == [number**2 for number in range(16)]
    assert len({pid for _, pid in results}) == 2


def test_no_more_jobs_are_in_flight_than_the_workers_need(workers: Engine) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[tuple[int]]:
        for number in range(50):
            taken.append(number)
            yield (number,)

    results = iter(workers.in_order(clusters.held, jobs()))
    for done in range(1, 51):
        assert next(results) == done - 1
        assert len(taken) <= done + AHEAD * 2 + 1


def test_many_threads_share_the_places_and_all_get_through(workers: Engine) -> None:
    found: dict[int, list[int]] = {}

    def ask(thread: int) -> None:
        found[thread] = list(workers.in_order(clusters.held, ((100 * thread + at,) for at in range(10))))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=180)
    assert found == {thread: [100 * thread + at for at in range(10)] for thread in range(8)}


def test_places_are_free_again_when_results_are_left_or_refused(workers: Engine) -> None:
    for _ in range(5):
        results = iter(workers.in_order(clusters.held, ((number,) for number in range(20))))
        assert next(results) == 0
        del results
        with pytest.raises(InvalidInput, match=r"^number 1: give 0$"):
            list(workers.in_order(clusters.refuse, ((number,) for number in range(20))))
    assert list(workers.in_order(clusters.held, [(1,)])) == [1]


def test_an_error_of_the_work_is_not_taken_for_one_of_the_cluster(workers: Engine) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        list(workers.in_order(clusters.missing_file, [("/no-such-file",)]))


def test_a_result_may_take_longer_to_come_than_one_is_waited_for(
    workers: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready results that are still on their way are waited for; an error of that kind in the work itself is raised."""
    monkeypatch.setattr(engine, "DESERTED_SECONDS", 0.012)
    jobs = [(number, tmp_path, 0.01) for number in range(50)]
    found = [square for square, _ in workers.in_order(clusters.traced_square, jobs)]
    assert found == [number**2 for number in range(50)]
    with pytest.raises(TimeoutError, match="of the work"):
        list(workers.in_order(clusters.out_of_time, [(0,)]))


def test_work_has_one_thread_in_every_library(workers: Engine) -> None:
    (threads,) = workers.in_order(clusters.threads_of_this_process, [(0,)])
    assert len(threads) > 1
    assert set(threads) == {1}


def test_a_killed_worker_costs_the_blocks_it_held(
    workers: Engine, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    jobs = [(number, tmp_path, 0.05) for number in range(24)]
    results, killed = [], 0
    for number, result in enumerate(workers.in_order(clusters.traced_square, jobs)):
        results.append(result)
        if number == 5:
            killed = results[-1][1]
            clusters.kill(killed)
    assert [square for square, _ in results] == [number**2 for number in range(24)]
    runs = Counter(int(path.name.partition("-")[0]) for path in tmp_path.iterdir())
    again = {number for number, times in runs.items() if times > 1}
    # What had been handed over is never computed again, nor what had not been handed out.
    assert again
    assert all(5 < number <= 5 + AHEAD * 2 + 1 for number in again)
    record_property("blocks computed again after a worker was killed", len(again))


def test_a_block_that_ends_every_worker_is_one_line(workers: Engine) -> None:
    with pytest.raises(UnavailableResource) as raised:
        list(workers.in_order(clusters.end_the_process, [(0,)]))
    assert "one block ended 4 workers" in str(raised.value)
    assert "see their logs, give each more memory or fewer threads, and run again" in str(raised.value)


def test_a_leaf_travels_as_its_place_and_identity(workers: Engine, tmp_path: Path) -> None:
    commit_embeddings(Layout(tmp_path), rows=300)
    leaf = open_leaf(Layout(tmp_path).leaf("embeddings", CELL), EMBEDDINGS)
    packed = engine._packed(clusters.held, (leaf,))
    assert len(packed) < 2000
    parts = [slice(0, 100), slice(100, 300)]
    results = list(workers.in_order(Leaf.read, [(leaf, "documents", part) for part in parts]))
    assert np.concatenate(results).tobytes() == leaf.read("documents").tobytes()


def test_another_leaf_at_the_place_is_refused(workers: Engine, tmp_path: Path) -> None:
    place = Layout(tmp_path).leaf("embeddings", CELL)
    commit_embeddings(Layout(tmp_path), rows=300)
    leaf = open_leaf(place, EMBEDDINGS)
    commit_embeddings(Layout(tmp_path), rows=300, seed=5)
    with pytest.raises(
        FileNotFoundError, match="a worker does not find the artifact as the stage opened it; share"
    ):
        list(workers.in_order(Leaf.read, [(leaf, "documents", slice(0, 10))]))


def test_workers_of_other_code_are_refused(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "identity", lambda: "another")
    with (
        engine_at(cluster.scheduler_address) as found,
        pytest.raises(
            InvalidInput, match="a worker runs other code or other versions than this process; check out"
        ),
    ):
        list(found.in_order(clusters.held, [(1,)]))


@pytest.mark.parametrize("address", ["cluster", "http://127.0.0.1:1"])
def test_what_is_no_address_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 1.0)
    with (
        pytest.raises(UnavailableResource, match=rf"^DASK_SCHEDULER_ADDRESS: nobody answers at {address}; "),
        engine_at(address),
    ):
        pass


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 1.0)
    address, started = clusters.unused_address(), time.monotonic()
    with (
        pytest.raises(
            UnavailableResource, match=rf"^DASK_SCHEDULER_ADDRESS: nobody answers at {address}; start `dask"
        ),
        engine_at(address),
    ):
        pass
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 7], ids=["mute", "web", "cut"]
)
def test_a_port_that_takes_the_connection_and_is_no_scheduler_is_given_up(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 2.0)
    monkeypatch.setattr(patience, "WAITING_SECONDS", 0.1)

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(answer)
        stop.wait()

    started = time.monotonic()
    with (
        silent_server(behave) as address,
        pytest.raises(
            UnavailableResource, match=rf"^DASK_SCHEDULER_ADDRESS: nobody answers at tcp://{address}; "
        ),
        engine_at(f"tcp://{address}"),
    ):
        pass
    assert time.monotonic() - started < 30
    said = f"waiting for the scheduler tcp://{address} (up to 2 s) …"
    assert answer or said in capsys.readouterr().err


def test_a_scheduler_frozen_in_the_middle_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "WAITING_SECONDS", 0.1)
    with (
        clusters.cluster_of_another_process(tmp_path) as (address, process),
        pytest.raises(UnavailableResource) as raised,
        engine_at(address) as found,
    ):
        monkeypatch.setattr(engine, "DESERTED_SECONDS", 1.0)
        monkeypatch.setattr(engine, "READ_SECONDS", 2.0)
        monkeypatch.setattr(engine, "CONNECT_SECONDS", 2.0)
        results = iter(found.in_order(clusters.traced_square, [(n, tmp_path, 0.1) for n in range(99)]))
        assert next(results)[0] == 0
        process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        list(results)
    assert time.monotonic() - started < 60
    assert str(raised.value) == (
        f"DASK_SCHEDULER_ADDRESS: the scheduler {address} has not answered for 2.0 s; see that it runs, then run "
        "the stage again"
    )
    assert f"waiting for the scheduler {address} (up to 2 s) …" in capsys.readouterr().err


def test_a_scheduler_without_workers_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.5)
    with (
        clusters.local_cluster(0) as empty,
        pytest.raises(UnavailableResource, match=r"has no workers; start some, as in `dask worker tcp://127"),
        engine_at(empty.scheduler_address),
    ):
        pass


def test_a_cluster_whose_workers_all_leave_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "DESERTED_SECONDS", 1.0)
    with (
        clusters.local_cluster(1) as small,
        engine_at(small.scheduler_address) as found,
    ):
        results = iter(found.in_order(clusters.traced_square, [(n, tmp_path, 0.2) for n in range(9)]))
        assert next(results)[0] == 0
        small.scale(0)
        with pytest.raises(UnavailableResource, match="has lost all its workers; start some and run again"):
            list(results)


def test_a_scheduler_that_goes_away_is_one_line(tmp_path: Path) -> None:
    with clusters.local_cluster(1) as small:
        client = Client(small.scheduler_address, set_as_default=False)
        jobs = [(n, tmp_path, 0.2) for n in range(9)]
        results = iter(Cluster(client, "tcp://here:1").in_order(clusters.traced_square, jobs))
        assert next(results)[0] == 0
    with pytest.raises(
        UnavailableResource, match=r"tcp://here:1 went away; see that it runs, and run the stage"
    ):
        list(results)
    client.close()
