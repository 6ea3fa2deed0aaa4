"""What the stages make on a cluster is, byte for byte, what they make in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster

from pipeline import executors as engine
from store.artifacts.judgements import JUDGEMENTS
from store.layout import Layout
from store.leaf.reading import open_leaf
from tests.pipeline import clusters
from tests.stages.projects import make_project, run, run_cell
from tests.stages.test_pipeline import digests

CELL = {"model": "lsa-64", "dataset": "first"}
OPTIONS = [option for key, label in CELL.items() for option in (f"--{key}", label)]

ARTIFACTS = {
    "embed": "embeddings",
    "binarize": "binary_codes",
    "quantize": "quantized_codes",
    "extend": "further_codes",
    "exact": "exact_neighbours",
    "search-binary": "binary_neighbours",
    "search-quantized": "quantized_neighbours",
    "search-further": "further_neighbours",
    "rescore": "rescored_neighbours",
}


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Seven blocks of codes, and 13 of a search, the last with fewer documents than are searched for."""
    with pytest.MonkeyPatch.context() as patch:
        # On a machine that is busy with other work a worker may need a while to answer.
        patch.setattr(engine, "CONNECT_SECONDS", 60.0)
        patch.setattr("store.leaf.growth.BLOCK_ROWS", 64)
        patch.setattr("pipeline.cells.blocks.SEARCH_ROWS", 32)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell, computed in this process; half of its queries are documents themselves, which they leave out."""
    root = tmp_path_factory.mktemp("study")

    def change(content: dict[str, Any]) -> None:
        content["study"] = {
            "name": "tiny",
            "models": [CELL["model"]],
            "datasets": [CELL["dataset"]],
            "sweeps": {},
        }
        content["datasets"]["first"]["exclude_self"] = True
        content["embed"]["slab"] = 64
        content["extend"]["codecs"] = {
            "float8": {},
            "sign-mean": {},
            "rabitq": {"seeds": [0]},
            "opq": {"code_bytes": [8], "seeds": [0], "iterations": 2},
        }
        content["search_further"]["asymmetric"] = ["sign-mean"]
        content["rescore"]["first"] = ["pq"]
        folder = root / "data" / "first"
        judged = dict(
            line.split("\t")[:2] for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]
        )
        lines = (folder / "queries.jsonl").read_text().splitlines()
        for number, line in enumerate(lines[::2]):
            query = json.loads(line)
            document = f"d{(int(judged[query['_id']][1:]) + 1) % 400}"
            qrels = (folder / "qrels/test.tsv").read_text()
            (folder / "qrels/test.tsv").write_text(qrels.replace(f"{query['_id']}\t", f"{document}\t"))
            lines[2 * number] = json.dumps({**query, "_id": document})
        (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")

    make_project(root, change)
    run_cell(root, **CELL, until="rescore")
    left_out = open_leaf(Layout(root).leaf("judgements", {"dataset": "first"}), JUDGEMENTS).read("self_row")
    assert 0 < np.count_nonzero(left_out >= 0) < len(left_out)
    return root


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with clusters.local_cluster(2) as found:
        yield found


@contextmanager
def on(scheduler: str) -> Iterator[None]:
    """While stages find the address of a scheduler in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_SCHEDULER_ADDRESS", scheduler)
        yield


def again(root: Path, stage: str) -> None:
    """Run a stage whose artifact is not there."""
    shutil.rmtree(root / "lake.zarr" / ARTIFACTS[stage])
    assert run(root, stage, *OPTIONS) == 0


def lake(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(root).items() if name.startswith("lake.zarr/")}


@pytest.fixture(scope="module")
def elsewhere(study: Path, cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the study that is computed by the cluster."""
    root = shutil.copytree(study, tmp_path_factory.mktemp("elsewhere") / "study")
    with on(cluster.scheduler_address):
        yield root


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each result that comes from the cluster."""
    counted: list[int] = []
    plain = engine.Cluster._next

    def counting(self: engine.Cluster, waiting: Any) -> Any:
        result = plain(self, waiting)
        counted.append(1)
        return result

    monkeypatch.setattr(engine.Cluster, "_next", counting)
    return counted


@pytest.mark.parametrize("stage", ARTIFACTS)
def test_two_workers_make_the_same_bytes(
    stage: str, study: Path, elsewhere: Path, results: list[int]
) -> None:
    again(elsewhere, stage)
    assert lake(elsewhere) == lake(study)
    # The first slab is encoded by the stage itself, which measures what storing it costs.
    assert len(results) >= 7 - (stage == "embed")


EXTENSION = ("embed", "extend", "search-further", "rescore")
KILLED = [pytest.param(name, marks=[pytest.mark.full] * (name in EXTENSION)) for name in ARTIFACTS]


@pytest.mark.parametrize("stage", KILLED)
def test_a_worker_killed_in_the_middle_changes_no_byte(
    stage: str, study: Path, elsewhere: Path, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.scale(2)  # a worker killed while it starts is not started again by itself
    cluster.wait_for_workers(2, timeout=180)
    results, killed = [], []
    plain = engine.Cluster._next

    def deadly(self: engine.Cluster, waiting: Any) -> Any:
        result = plain(self, waiting)
        results.append(1)
        if len(results) == 3:
            # One that has just been started again may have no process yet.
            killed.append(next(nanny.pid for nanny in cluster.workers.values() if nanny.pid))
            clusters.kill(killed[0])
        return result

    monkeypatch.setattr(engine.Cluster, "_next", deadly)
    again(elsewhere, stage)
    assert len(killed) == 1
    assert len(results) > 3
    assert lake(elsewhere) == lake(study)


def test_blocks_that_are_taken_over_are_not_sent(study: Path, elsewhere: Path, results: list[int]) -> None:
    assert run(elsewhere, "binarize", *OPTIONS) == 0
    # The digests of seven blocks of documents and one of queries, and no codes.
    assert len(results) == 8
    assert lake(elsewhere) == lake(study)


def test_a_scheduler_that_nobody_answers_for_leaves_the_artifact(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 1.0)
    address = clusters.unused_address()
    root = shutil.copytree(study, tmp_path / "study")
    with on(address):
        assert run(root, "binarize", *OPTIONS) == 1
    assert capsys.readouterr().err == (
        f"error: DASK_SCHEDULER_ADDRESS: nobody answers at {address}; start `dask scheduler` there (tls:// also "
        "needs its certificates in Dask's configuration), or unset the variable to compute here\n"
    )
    assert lake(root) == lake(study)
