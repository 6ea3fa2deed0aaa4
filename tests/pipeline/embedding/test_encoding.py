"""Encoding that is stopped: killed anywhere, the next run goes on and ends with the bytes of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel

from stages import embed
from store.artifacts.embeddings import EMBEDDINGS
from store.encoders.sentence import SentenceEncoder
from store.failures import INTERRUPTED
from store.leaf.reading import open_leaf
from store.progress import Progress
from tests.paths import ROOT
from tests.pipeline.test_growth import CELL, Collection
from tests.stages.projects import run
from tests.store.encoders.tiny_models import save_tiny_bert
from tests.store.leaf.test_commit import digests

SLAB = 12
DOCUMENTS = 300
SLABS = DOCUMENTS // SLAB
EMBED = ("embed", *[option for key, value in CELL.items() for option in (f"--{key}", value)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Collection:
    """A cell of 25 slabs, whose texts are ready."""
    made = Collection.make(tmp_path_factory.mktemp("project"), model)
    made.change(lambda content: content["embed"].update(slab=SLAB))
    made.run("corpus")
    return made


@pytest.fixture(scope="module")
def undisturbed(project: Collection, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    whole = project.copy(tmp_path_factory.mktemp("whole") / "project", "lake.zarr", "corpora")
    whole.run("embed")
    return digests(whole.lake)


@pytest.fixture
def collection(project: Collection, tmp_path: Path) -> Collection:
    return project.copy(tmp_path / "project", "lake.zarr", "corpora")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of texts that were encoded, one a call; the real encoder encodes them."""
    numbers: list[int] = []
    for name in ("encode_documents", "encode_queries"):
        real = getattr(SentenceEncoder, name)

        def counting(
            self: SentenceEncoder, texts: list[str], real: Callable[..., Any] = real
        ) -> np.ndarray[Any, Any]:
            numbers.append(len(texts))
            return np.asarray(real(self, texts))

        monkeypatch.setattr(SentenceEncoder, name, counting)
    return numbers


def parts(collection: Collection) -> list[str]:
    folder = collection.root / ".bitlake/unfinished"
    return sorted(path.name for path in folder.rglob("*documents-*"))


# The model's own forward, slowed down so that the process can be killed while it encodes.
SLOW = """
import sys, time
from pathlib import Path
from transformers import BertModel
from stages.__main__ import main
real = BertModel.forward
def slowly(*arguments, **settings):
    time.sleep(0.02)
    return real(*arguments, **settings)
BertModel.forward = slowly
sys.exit(main(sys.argv[1:]))
"""


def start(collection: Collection) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", SLOW, *EMBED], cwd=collection.root, env=environment)


def kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_at_four_fifths_it_goes_on_from_the_last_finished_slab(
    collection: Collection, undisturbed: dict[str, str], encoded: list[int], record_property: Any
) -> None:
    before = digests(collection.lake)
    with start(collection) as process:
        kill_when(process, lambda: len(parts(collection)) >= SLABS * 4 // 5)
    assert digests(collection.lake) == before
    finished = len(parts(collection))
    record_property("slabs kept of 25", finished)
    assert SLABS * 4 // 5 <= finished < SLABS
    collection.run("embed")
    # Queries and the cost of float16 were kept as well.
    assert encoded == [SLAB] * (SLABS - finished)
    assert digests(collection.lake) == undisturbed
    assert not (collection.root / ".bitlake/unfinished/embed--tiny--first").exists()


@pytest.mark.full
def test_killed_again_and_again_it_arrives(
    collection: Collection, undisturbed: dict[str, str], encoded: list[int]
) -> None:

    def has_parts(slabs: int) -> bool:
        return len(parts(collection)) >= slabs

    for slabs in (1, 13):
        with start(collection) as process:
            kill_when(process, partial(has_parts, slabs))
    collection.run("embed")
    assert len(encoded) <= SLABS - 13
    assert digests(collection.lake) == undisturbed


def stop_after(monkeypatch: pytest.MonkeyPatch, collection: Collection, slabs: int) -> None:
    """Run until some slabs are kept, then stop by Ctrl-C in the middle of the next."""
    real = BertModel.forward

    def forward(*arguments: Any, **settings: Any) -> Any:
        if len(parts(collection)) >= slabs:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(BertModel, "forward", forward)
        assert run(collection.root, *EMBED) == INTERRUPTED


def test_a_part_that_was_damaged_is_encoded_again(
    collection: Collection, undisturbed: dict[str, str], encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, collection, 5)
    victim = next((collection.root / ".bitlake/unfinished").rglob("*documents-000002"))
    content = bytearray(victim.read_bytes())
    content[-5] ^= 1
    victim.write_bytes(content)
    encoded.clear()
    collection.run("embed")
    assert encoded == [SLAB] * (SLABS - 4)
    assert digests(collection.lake) == undisturbed


class Elsewhere:
    """An engine that cuts; what it is given is done here, and counted."""

    cuts, at_once = True, 1

    def __init__(self) -> None:
        self.jobs = 0

    def in_order(self, work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        for job in jobs:
            self.jobs += 1
            yield work(*job)


def test_slabs_that_were_kept_are_not_sent_to_workers(
    collection: Collection, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, collection, 10)
    engine, told = Elsewhere(), [0, 0]
    plain = Progress.advance

    def advance(self: Progress, texts: int, tokens: int) -> None:
        told[0], told[1] = told[0] + texts, told[1] + tokens
        plain(self, texts, tokens)

    monkeypatch.setattr(embed, "open_engine", lambda: nullcontext(engine))
    monkeypatch.setattr(Progress, "advance", advance)
    collection.run("embed")
    assert engine.jobs == SLABS - 10
    assert told[0] == (SLABS - 10) * SLAB
    assert told[1] > told[0]
    assert digests(collection.lake) == undisturbed


def test_the_plans_of_workers_are_recorded(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Elsewhere()
    monkeypatch.setattr(embed, "open_engine", lambda: nullcontext(engine))
    Shrinking(monkeypatch, collection, 7, 200)
    collection.run("embed")
    assert_shrunk(collection)


def other_model(collection: Collection, tmp_path: Path) -> None:
    save_tiny_bert(tmp_path / "other" / "tiny", seed=1)
    collection.change(lambda content: content["models"]["tiny"].update(name=str(tmp_path / "other" / "tiny")))


def other_texts(collection: Collection, tmp_path: Path) -> None:
    place = collection.root / "data/first/corpus.jsonl"
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    place.write_text("".join(json.dumps(line | {"text": line["text"] + " more"}) + "\n" for line in lines))
    collection.run("corpus")


def other_plan(collection: Collection, tmp_path: Path) -> None:
    collection.change(lambda content: content["embed"].update(batch_size=3))


def other_prefix(collection: Collection, tmp_path: Path) -> None:
    collection.change(lambda content: content["models"]["tiny"].update(document_prefix="text: "))


@pytest.mark.parametrize("change", [other_model, other_texts, other_plan, other_prefix])
def test_what_was_kept_of_other_inputs_is_not_used(
    collection: Collection,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Callable[[Collection, Path], None],
) -> None:
    stop_after(monkeypatch, collection, 5)
    change(collection, tmp_path)
    encoded.clear()
    collection.run("embed")
    assert [number for number in encoded if number == SLAB] == [SLAB] * SLABS
    scratch = collection.from_scratch(tmp_path / "scratch", "corpus", "embed")
    assert digests(collection.lake) == scratch


def test_what_another_version_of_a_library_has_encoded_is_not_mixed_in(
    collection: Collection, encoded: list[int], monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("store.encoders.sentence.versions", lambda *names: dict.fromkeys(names, "0.1"))
        stop_after(monkeypatch, collection, 5)
    encoded.clear()
    collection.run("embed")
    assert len([number for number in encoded if number == SLAB]) == SLABS
    # The versions are a condition of going on, and no part of the leaf.
    assert digests(collection.lake) == undisturbed


class Shrinking:
    """Memory that holds every batch of the first slabs, and from then on only ``tokens`` a batch."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, collection: Collection, slabs: int, tokens: int
    ) -> None:
        real = BertModel.forward

        def forward(model: BertModel, input_ids: torch.Tensor, **settings: Any) -> Any:
            if len(parts(collection)) >= slabs and input_ids.numel() > tokens:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(model, input_ids=input_ids, **settings)

        monkeypatch.setattr(BertModel, "forward", forward)


def plan(collection: Collection) -> dict[str, Any]:
    attributes = open_leaf(collection.lake / "embeddings/tiny/first", EMBEDDINGS).attributes
    found: dict[str, Any] = attributes["encoder"]["batch_tokens"]
    return found


def assert_shrunk(collection: Collection) -> None:
    """The plan says that memory ended at the seventh slab."""
    first, (changed, tokens) = plan(collection)["documents"]
    assert first == [0, 512]
    assert changed == 7
    assert tokens <= 200


def test_the_plan_is_recorded(
    collection: Collection, project: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = project.copy(tmp_path / "other", "lake.zarr", "corpora")
    other.run("embed")
    assert plan(other) == {"queries": 16 * 32, "documents": [[0, 16 * 32]]}
    attributes = open_leaf(other.lake / "embeddings/tiny/first", EMBEDDINGS).attributes["encoder"]
    assert (attributes["device"], attributes["precision"]) == ("cpu", "float32")
    with monkeypatch.context() as patch:
        Shrinking(patch, collection, 7, 200)
        collection.run("embed")
    assert_shrunk(collection)


def test_stopped_after_memory_ended_it_goes_on_with_the_smaller_plan(
    collection: Collection, project: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = project.copy(tmp_path / "whole", "lake.zarr", "corpora")
    with monkeypatch.context() as patch:
        Shrinking(patch, whole, 7, 200)
        whole.run("embed")
    with monkeypatch.context() as patch:
        Shrinking(patch, collection, 7, 200)
        stop_after(monkeypatch, collection, 10)
    # Nothing is said of memory any more: the plan is that of the slabs that were kept.
    collection.run("embed")
    assert digests(collection.lake) == digests(whole.lake)
    assert len(plan(collection)["documents"]) == 2


def test_slabs_that_are_taken_over_keep_their_plan(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[int]
) -> None:
    with monkeypatch.context() as patch:
        Shrinking(patch, collection, 7, 200)
        collection.run("embed")
    before = plan(collection)
    encoded.clear()
    collection.resize(400, grown_from=(300,))
    collection.run("corpus", "embed")
    assert sum(encoded) == 40 + 100
    assert plan(collection) == before


def test_cuda_asked_for_and_absent_leaves_finished_cells_as_they_are(
    collection: Collection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.run("embed")
    before = digests(collection.lake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    capsys.readouterr()
    assert run(collection.root, *EMBED) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: CUDA_VISIBLE_DEVICES: 0 is asked for, but ")
    assert error.count("\n") == 1
    assert digests(collection.lake) == before


def test_a_kept_part_is_for_this_machine_alone(collection: Collection) -> None:
    """Neither Git nor DVC look below the folder that parts are kept in."""
    assert "/.bitlake/" in (ROOT / ".gitignore").read_text().splitlines()
    assert ".bitlake/" in (ROOT / ".dvcignore").read_text().splitlines()
