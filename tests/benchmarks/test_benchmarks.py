"""The benchmark suites measure what they say; nothing here depends on how long anything takes."""

from __future__ import annotations

import json
import platform
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import _encoders, _lake_sizes, _machine, encode, lake, stages
from pipeline import params
from store.corpora.corpus import Corpus
from store.encoders.tokens import plan_batches
from store.layout import Layout
from tests.stages.projects import make_project
from tests.store.lakes import commit_embeddings


def test_every_stage_but_embed_is_started_beside_the_floor(tmp_path: Path) -> None:
    make_project(tmp_path)
    commands = stages.start_commands(params.load(tmp_path))
    assert set(commands) == {stages.FLOOR, *params.stages()} - {"embed"}
    cell = ("--model", "lsa-32", "--dataset", "first")
    assert commands["quantize"] == (sys.executable, "-m", "stages", "quantize", *cell, "--check")
    assert commands["corpus"] == (sys.executable, "-m", "stages", "corpus", *cell[2:], "--check")
    assert commands["results"] == (sys.executable, "-m", "stages", "results", "--check")


def test_commands_take_turns_and_the_first_round_is_not_measured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = {
        name: (sys.executable, "-S", "-c", f"open({str(log)!r}, 'a').write({name!r})") for name in "ab"
    }
    seconds = stages.timed(commands, 2, tmp_path)
    assert log.read_text() == "ababab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    command = (sys.executable, "-S", "-c", "raise SystemExit('error: no leaf')")
    with pytest.raises(SystemExit, match="results: error: no leaf; compute the study first"):
        stages.timed({"results": command}, 1, tmp_path)


def test_a_study_that_is_not_computed_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path)
    assert stages.main(tmp_path) == 1
    assert capsys.readouterr().err == (
        "error: the study is not computed or not up to date; run `make repro` first\n"
    )


def test_figures_carry_what_they_were_measured_on(tmp_path: Path) -> None:
    target = _machine.write("suite", {"seconds": {"x": _machine.summary([1.0, 5.0, 2.0])}}, tmp_path)
    written = json.loads(target.read_text())
    assert written["seconds"]["x"] == {"median_s": 2.0, "max_s": 5.0, "repetitions": 3}
    assert written["machine"]["python"] == platform.python_version()
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["packages"].keys() == set(_machine.PACKAGES)
    assert written["machine"].keys() == {"cores", "memory_gib", "processor", "system", "python", "packages"}


def test_rounds_go_on_until_the_seconds_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("benchmarks._machine.time.perf_counter", lambda: float(next(clock)))
    sides = {"a": _machine.Side(lambda: None)}
    # A round reads the clock twice, and asking whether to go on once more.
    assert len(_machine.interleaved(sides, 1, seconds=9.0)["a"].wall) == 3
    assert len(_machine.interleaved(sides, 7, seconds=9.0)["a"].wall) == 7


def test_sides_take_turns_back_and_forth_and_are_prepared_before_each_time() -> None:
    log: list[str] = []
    sides = {
        name: _machine.Side(partial(log.append, name), partial(log.append, f"({name})")) for name in "ab"
    }
    times = _machine.interleaved(sides, 3)
    assert "".join(log) == "(a)a(b)b" + "(b)b(a)a" + "(a)a(b)b"
    assert {name: (len(taken.wall), len(taken.cpu)) for name, taken in times.items()} == {
        "a": (3, 3),
        "b": (3, 3),
    }


def test_sides_are_compared_within_each_round() -> None:
    roof = _machine.Times([1.0, 4.0, 1.0], [0.5, 0.5, 0.5])
    ours = _machine.Times([2.0, 2.0, 4.0], [1.0, 0.25, 2.0])
    found = _machine.compared({"roof": roof, "ours": ours}, "roof", 4_000_000_000)
    assert found["roof"]["of_base"] == 1.0
    assert found["ours"] == {
        "median_s": 2.0, "max_s": 4.0, "repetitions": 3, "min_s": 2.0, "cpu_s": 1.0, "gb_per_s": 2.0,
        "of_base": 0.5, "of_base_min": 0.25, "of_base_max": 2.0, "of_base_cpu": 0.5,
    }  # fmt: skip


def test_the_lake_meets_every_peer_and_bytes_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "REPETITIONS", 2)
    monkeypatch.setattr(lake, "PEER_REPETITIONS", 1)
    assert lake.main(["--rows", "700", "--peer-rows", "300"], tmp_path) == 0
    written = json.loads((tmp_path / "lake.json").read_text())
    assert written["storage"] == "page cache, not synced"
    assert list(written["rows"]) == [
        f"{rows} × 384 {dtype}" for dtype in ("float32", "float16") for rows in (700, 300)
    ]
    plain, peers = list(written["rows"].values())[:2]
    zarrs = ["zarr, same bytes", "zarrs, same layout", "zarr's defaults"]
    assert list(plain["write"]) == ["raw file", "lake"]
    assert [figures["write"]["lake"]["repetitions"] for figures in (plain, peers)] == [2, 1]
    assert list(plain["read"]) == ["raw file", "lake", "lake, in blocks", "open_lake()"]
    assert list(peers["write"]) == ["raw file", "lake", *zarrs]
    assert list(peers["read"]) == [
        "raw file",
        "lake",
        *zarrs,
        "lake, in blocks",
        "open_lake()",
        "lake, by chunks",
    ]
    assert capsys.readouterr().out.count("zarrs, same layout") == 4


def test_sides_that_disagree_are_named_before_anything_is_timed(tmp_path: Path) -> None:
    values = lake.draw(300, "float16")
    peers = lake.plain_peers(tmp_path, values) | lake.zarr_peers(tmp_path, values)
    wrong = lake.Peer(tmp_path / "wrong", lambda: None, lambda: values + 1)
    with pytest.raises(SystemExit, match=r"^other: reads other values than were written"):
        lake.agree(peers | {"other": wrong}, values)
    again = tmp_path / "again"
    again.mkdir()
    peers = lake.plain_peers(again, values) | lake.zarr_peers(again, values)
    same = peers["zarr, same bytes"]

    def spoil() -> None:
        same.write()
        file = same.path / "c.0.0"
        file.write_bytes(file.read_bytes()[:-1] + b"x")

    spoilt = lake.Peer(same.path, spoil, lambda: values)
    with pytest.raises(SystemExit, match=r"^zarr, same bytes: c\.0\.0 is not what the lake holds"):
        lake.agree(peers | {"zarr, same bytes": spoilt}, values)


def test_sizes_are_swept_and_compression_is_measured_on_stored_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lake_sizes, "ROWS", 5000)
    monkeypatch.setattr(_lake_sizes, "REPETITIONS", 1)
    commit_embeddings(Layout(tmp_path / "project"), rows=200)
    assert _lake_sizes.main([str(tmp_path / "project")], tmp_path) == 0
    written: dict[str, Any] = json.loads((tmp_path / "lake_sizes.json").read_text())
    assert list(written["chunks"]) == [f"{128 << n} KiB" for n in range(6)]
    assert list(written["shards"]) == [f"{32 << n} MiB" for n in range(5)]
    # A chunk of 128 rows of 768 bytes, or two; the index of a shard is asked for once.
    smallest = written["chunks"]["128 KiB"]
    assert smallest["remote_kb"] in (98, 197)
    assert smallest["bytes"] == -(-5000 // 128) * (128 * 768 + 4) + 16 * 1024 + 4
    found = written["compression"]["embeddings of m"]
    assert found["bytes"] == 200 * 16 * 2
    assert 0.8 < found["zstd3_size"] < 1.02


def test_drawn_vectors_are_the_same_each_time() -> None:
    values = lake.draw(50, "float32")
    np.testing.assert_array_equal(values, lake.draw(50, "float32"))
    assert float(np.linalg.norm(values, axis=1).mean()) == pytest.approx(1, abs=0.05)


def small_corpus() -> Corpus:
    """Twenty documents about one thing each, each answering the query that names it."""
    random = np.random.RandomState(0)
    words = np.array(
        ["sparse", "matrix", "solver", "mean", "array", "axis", "value", "function", "returns", "given"]
    )
    documents = {
        f"d{i}": " ".join([f"topic{i}", *random.choice(words, random.randint(5, 60))]) for i in range(20)
    }
    queries = {f"q{i}": f"topic{i} matrix" for i in range(20)}
    judged = {(f"q{i}", f"d{i}"): 1 for i in range(20)}
    return Corpus.build(documents, queries, judged, row_seed=0, exclude_self=False)


@pytest.fixture
def small_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architectures and texts of a size that takes a second."""
    sizes = [
        _encoders.Architecture(of.model, 1, 16, 2, of.max_tokens, of.pooling)
        for of in _encoders.ARCHITECTURES
    ]
    monkeypatch.setattr(encode, "ARCHITECTURES", tuple(sizes))
    monkeypatch.setattr(encode, "SLAB", 64)
    monkeypatch.setattr(encode, "texts_at_hand", lambda project: ("small", small_corpus()))


@pytest.mark.usefixtures("small_encoders")
def test_every_architecture_is_encoded_and_the_study_projected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode.main(["--seconds", "0.01", "--note", "tiny"], tmp_path) == 0
    written = json.loads((tmp_path / "encode.json").read_text())
    assert written["note"] == "tiny"
    assert list(written["architectures"]) == ["all-MiniLM-L6-v2", "e5-base-v2", "bge-large-en-v1-5"]
    for model, found in written["architectures"].items():
        sides = found["sides"]
        narrow = ["bfloat16"] if model == "all-MiniLM-L6-v2" else []
        assert list(sides) == ["float32", "int8, torch", "int8, ONNX Runtime", *narrow]
        assert sides["float32"]["speed"] == 1
        # Rates are rounded, seconds of a few small texts even more.
        per_document = sides[encode.INT8]["tokens_per_s"] / sides[encode.INT8]["documents_per_s"]
        assert per_document == pytest.approx(found["tokens"] / found["documents"], rel=0.01)
    e1 = written["e1"]
    assert len(e1["cells"]) == 9
    assert e1["hours"] == pytest.approx(sum(cell["hours"] for cell in e1["cells"].values()), abs=0.01)
    assert e1["gpu_hours_measured"] is False
    cell = e1["cells"]["e5-base-v2 × msmarco"]
    assert cell["tokens"] == pytest.approx(500_000 * cell["mean_tokens"], rel=0.01)
    kept = written["quality"]["sides"]
    assert kept["float32"]["overlap_at_10_with_float32"] == 1
    assert kept["float32"]["mean_cosine_to_float32"] == pytest.approx(1, abs=1e-5)
    # The trained model is the real one, for any texts.
    for side in (encode.INT8, encode.ONNX):
        assert 0.3 < kept[side]["overlap_at_10_with_float32"] < 1
        assert 0.8 < kept[side]["mean_cosine_to_float32"] < 0.9999
    assert "E1 here (cpu, float32)" in capsys.readouterr().out


def test_shares_of_real_tokens_are_those_of_the_batches() -> None:
    lengths = np.array([10, 10, 10, 10, 50, 50], np.int64)
    assert [len(rows) for rows in plan_batches(lengths, 100)] == [2, 4]
    # Sorted, nothing is padded; drawn, batches of three with one long text are.
    found = encode.padding(lengths, 100)
    assert found["sorted"] == 1
    assert 140 / 300 <= found["random"] < 1


def test_lengths_are_scaled_to_the_mean_words_and_cut() -> None:
    lengths = _encoders.Lengths.of(small_corpus().document_texts)
    assert 1 < lengths.tokens_per_word < 2
    drawn = lengths.draw(5000, 50, 512)
    assert drawn.mean() == pytest.approx(50 * lengths.tokens_per_word, rel=0.05)
    assert lengths.draw(5000, 50, 20).max() == 20
    np.testing.assert_array_equal(drawn, lengths.draw(5000, 50, 512))
    assert set(lengths.draw(500, None, 512)) <= set(lengths.tokens)
    texts = _encoders.texts_of(drawn[:50], small_corpus(), lengths.tokens_per_word)
    found = _encoders.Lengths.of(texts).tokens
    assert float(found.mean()) == pytest.approx(float(drawn[:50].mean()), rel=0.1)


def test_operations_of_a_token_are_those_of_its_matrix_products() -> None:
    base = next(of for of in _encoders.ARCHITECTURES if of.hidden == 768)
    # Twelve layers of 7.08 million weights, twice each, and attention over the text.
    assert base.flops_per_token(0) == 12 * 2 * 12 * 768**2
    assert base.flops_per_token(100) - base.flops_per_token(0) == 12 * 4 * 100 * 768
