"""The suites of search compare what they say they compare; nothing here depends on how long anything takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import _roofs, _vectors, search, throughput
from benchmarks._machine import Times
from benchmarks._search import cell, memory, sides
from store.artifacts.embeddings import EMBEDDINGS
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.search.neighbours import Neighbours
from tests.stages.projects import make_project

BASE = np.random.RandomState(0).standard_normal((300, 64)).astype(np.float32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sides, throughput, cell, memory):
        monkeypatch.setattr(module, "stored", lambda: BASE)
    for name, value in {"K": 10, "FEW": 5, "FITTED": 1000, "ITERATIONS": 2, "BITS": (64, 128)}.items():
        monkeypatch.setattr(sides, name, value)
    monkeypatch.setattr(cell, "QUERIES", 320)
    for name, size in {"_COPIED": 1 << 16, "_POPCOUNTS": 2, "_SGEMM": (64, 64, 64)}.items():
        monkeypatch.setattr(_roofs, name, size)


@pytest.mark.usefixtures("small")
def test_every_side_agrees_and_every_bar_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "KINDS", ("phase1-512", "pq-8"))
    monkeypatch.setattr(search, "cell_times", lambda documents: {"documents": documents})
    sizes = [
        "--documents",
        "3000",
        "--queries",
        "20",
        "--large",
        "4000",
        "--repetitions",
        "1",
        "--seconds",
        "0",
    ]
    assert search.main(sizes, tmp_path) == 0
    written = json.loads((tmp_path / "search.json").read_text())
    assert [bar["work"] for bar in written["bars"]] == [
        "binarize to 128 bits",
        *(f"{work}, {bits} bits" for bits in (64, 128) for work in ("binary search", "Faiss against itself")),
        *(f"binary search, {bits} bits, 5 queries" for bits in (64, 128)),
        "search of signs, 5 queries",
        "float, re-scored in float64",
        "int8",
        "float, of one SGEMM",
        "int8, of one SGEMM",
        "int8, 5 queries",
        *(f"PQ search, {size} bytes" for size in (8, 32, 64)),
        "PQ fit, 32 bytes",
        "PQ encode, 32 bytes",
    ]
    assert all(bar["speed"] > 0 for bar in written["bars"])
    assert {kind: list(found) for kind, found in written["peak_memory"].items()} == {
        "phase1-512": ["3000", "4000"],
        "pq-8": ["3000", "4000"],
    }
    assert all(20 < peak < 2000 for found in written["peak_memory"].values() for peak in found.values())
    assert written["cell"] == {"documents": 3000}
    assert written["roofs"].keys() == {
        "sgemm_gflops", "copy_gb_per_s", "file_read_gb_per_s", "cached_popcount_gb_per_s",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.count("Faiss, PQ") == 5


@pytest.mark.full
@pytest.mark.usefixtures("small")
def test_the_stages_of_a_cell_run_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    found = cell.cell_times(3000, 320)
    assert list(found["stages"]) == ["E2", "E3", "E4", "E5", "E6", "E7"]
    assert found["all"]["cpu_minutes"] == round(
        sum(each["cpu_minutes"] for each in found["stages"].values()), 2
    )
    assert "goal: at most 15 minutes" in capsys.readouterr().out


def test_a_bar_is_the_ratio_to_the_fastest_peer_of_the_same_round() -> None:
    times = {
        "slow": Times([9.0, 0.5, 9.0], [9.0, 9.0, 9.0]),
        "fast": Times([4.0, 4.0, 4.0], [4.0, 4.0, 4.0]),
        "lake": Times([2.0, 4.0, 1.0], [8.0, 2.0, 4.0]),
    }
    assert search.reached(search.Bar("work", "lake", ("slow", "fast"), 0.95), times) == {
        "work": "work", "peer": "fast", "goal": 0.95,
        "speed": 2.0, "speed_min": 1.0, "speed_max": 4.0, "speed_cpu": 1.0,
    }  # fmt: skip


def test_a_ratio_is_not_rounded_onto_its_bar_or_to_nothing() -> None:
    bar = search.Bar("work", "lake", ("peer",), 0.95)
    for theirs, ratio in ((0.9476, 0.9476), (0.00012, 0.00012)):
        assert (
            search.reached(bar, {"peer": Times([theirs], [1.0]), "lake": Times([1.0], [1.0])})["speed"]
            == ratio
        )


def test_what_is_below_its_bar_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    bar = {
        "work": "w",
        "peer": "p",
        "goal": 0.95,
        "speed": 0.94,
        "speed_min": 0.9,
        "speed_max": 1,
        "speed_cpu": 1,
    }
    search.print_bar(bar)
    search.print_bar({**bar, "speed": 0.95})
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("below")
    assert not second.endswith("below")


def test_sides_that_find_something_else_are_named() -> None:
    found: Mapping[str, Any] = {
        "lake": Neighbours(np.array([[1, 2]]), np.array([[0.5, 0.25]]), larger_is_better=True),
        "peer": np.array([[0.25, 0.5]]),
        "SGEMM": None,
    }
    sides.same_scores(0)(found)
    with pytest.raises(SystemExit, match=r"peer: scores differ from the lake's by 0\.125"):
        sides.same_scores(0.1)({**found, "peer": np.array([[0.375, 0.5]])})


def test_mixtures_are_unit_vectors_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vectors, "BLOCK", 128)
    whole = _vectors.drawn(BASE, 300, 0)
    assert whole.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(whole.astype(np.float64), axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(whole[:256], _vectors.drawn(BASE, 256, 0))
    assert not np.array_equal(whole[:128], whole[128:256])
    assert not np.array_equal(whole, _vectors.drawn(BASE, 300, 1))
    codes: NDArray[np.uint8] = np.concatenate([block for _, block in _vectors.random_codes(300, 8)])
    assert codes.shape == (300, 8)


def test_stored_embeddings_are_needed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"compute the study first: `make repro`, or `dvc pull`$"):
        _vectors.stored(tmp_path)
    with commit_leaf(Layout(tmp_path), EMBEDDINGS, _vectors.CELL) as leaf:
        leaf.write("documents", BASE.astype(np.float16))
        leaf.write("queries", BASE[:3].astype(np.float16))
        leaf.describe(**_vectors.CELL, corpus_digest="0" * 64, encoder={}, storage={})
    np.testing.assert_array_equal(_vectors.stored(tmp_path), BASE.astype(np.float16))


@pytest.mark.usefixtures("small")
def test_throughput_is_that_of_every_codec_of_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path)
    known = throughput.codecs(tmp_path)
    monkeypatch.setattr(throughput, "codecs", lambda: known)
    sizes = ["--documents", "2000", "--queries", "5", "--repetitions", "2"]
    assert throughput.main(sizes, tmp_path) == 0
    written = json.loads((tmp_path / "throughput.json").read_text())
    assert written["label"] == "exhaustive search on this machine"
    assert {"float32", "int8", "phase1-64", "pq-16", "itq-32", "float16", "rabitq"} <= set(written["codecs"])
    assert written["codecs"].keys() == known.keys()
    assert written["codecs"]["phase1-64"]["bytes_per_vector"] == 8
    assert all(
        0 < rate["least"] <= rate["queries_per_s"] <= rate["most"] for rate in written["codecs"].values()
    )
    assert capsys.readouterr().out.startswith("exhaustive search on this machine: 2,000 documents")
