"""A collection that grows: what is computed again, what is pushed again, and that the bytes are those of no history."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline import graph, growth, params
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.codecs import phase1
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.encoders.sentence import SentenceEncoder
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.reading import open_leaf
from tests.paths import ROOT
from tests.stages.checkouts import Checkout
from tests.stages.projects import run, tiny_params, write_beir, write_params
from tests.store.encoders.tiny_models import DIMENSION, save_tiny_bert, tiny_spec
from tests.store.leaf.test_commit import digests

CELL = {"model": "tiny", "dataset": "first"}
SIZES = (300, 400)
SLAB = 64
LARGE = 600


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Shards of 128 embeddings and of 256 codes, so that tiny collections have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.leaf.schema.SHARD_CHUNKS", 8)
        patch.setattr("store.leaf.schema.CHUNK_BYTES", 16 * 2 * DIMENSION)
        patch.setattr("store.leaf.schema.MIN_CHUNK_ROWS", 1)
        patch.setattr("store.leaf.growth.BLOCK_ROWS", SLAB)
        yield


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Rows that were computed since it was last cleared, by what computed them."""
    counted: dict[str, int] = {}

    def count(name: str, target: str, rows: Callable[..., int], real: Callable[..., Any]) -> None:
        def counting(*arguments: Any) -> Any:
            counted[name] = counted.get(name, 0) + rows(*arguments)
            return real(*arguments)

        monkeypatch.setattr(target, counting)

    encode = "store.encoders.sentence.SentenceEncoder.encode_documents"
    count("texts", encode, lambda self, texts: len(texts), SentenceEncoder.encode_documents)
    count("phase1", "store.codecs.phase1.encode", lambda vectors, *_: len(vectors), phase1.encode)
    for name, codec in (("int8", Int8Codec), ("pq", PQCodec)):
        target = f"{codec.__module__}.{codec.__name__}.encode"
        count(name, target, lambda self, state, vectors: len(vectors), codec.encode)
    return counted


@dataclass
class Collection:
    """A project with one collection that can be given any size up to `LARGE` documents."""

    root: Path

    @classmethod
    def make(cls, root: Path, model: Path) -> Collection:
        """A project whose collection has the first of `SIZES`."""
        write_beir(root / "data" / "all", seed=0, documents=LARGE)
        write_beir(root / "data" / "first", seed=0, documents=SIZES[0])
        content = tiny_params(root / "data")
        content["models"] = {"tiny": tiny_spec(model).model_dump()}
        content["study"] = {"name": "tiny", "models": ["tiny"], "datasets": ["first"], "sweeps": {}}
        content["embed"] |= {"batch_size": 16, "slab": SLAB}
        content["quantize"]["codecs"]["pq"] = {"code_bytes": [4], "seeds": [0, 1], "iterations": 2}
        content["extend"]["codecs"]["itq"]["bits"] = [DIMENSION]
        write_params(root, content)
        graph.write(root, params.load(root))
        return cls(root)

    def copy(self, root: Path, *folders: str) -> Collection:
        """The project at another place, with the named folders of it."""
        for folder in ("data", "studies", *folders):
            shutil.copytree(self.root / folder, root / folder)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(self.root / name, root / name)
        other = Collection(root)
        other.change(lambda content: content["datasets"]["first"].update(path=str(root / "data/first")))
        return other

    @property
    def lake(self) -> Path:
        return self.root / "lake.zarr"

    def ids(self) -> list[str]:
        """Ids of the documents in row order."""
        return open_leaf(self.lake / "judgements/first", JUDGEMENTS).strings("document_id")

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Rewrite the parameters after a change."""
        content = yaml.safe_load((self.root / "params.yaml").read_text())
        change(content)
        write_params(self.root, content)
        graph.write(self.root, params.load(self.root))

    def resize(self, documents: int, grown_from: tuple[int, ...] = ()) -> None:
        """Give the collection its first ``documents`` documents; queries and judgements stay."""
        lines = (self.root / "data/all/corpus.jsonl").read_text().splitlines(keepends=True)
        (self.root / "data/first/corpus.jsonl").write_text("".join(lines[:documents]))
        self.change(lambda content: content["datasets"]["first"].update(grown_from=list(grown_from)))

    def run(self, *stages: str) -> None:
        """Run stages of the cell in this process."""
        for stage in stages:
            keys = {"dataset": CELL["dataset"]} if stage == "corpus" else CELL
            options = [option for key, value in keys.items() for option in (f"--{key}", value)]
            assert run(self.root, stage, *options) == 0

    def from_scratch(self, root: Path, *stages: str) -> dict[str, str]:
        """Digests of the lake that the stages make in a copy without any."""
        other = self.copy(root)
        other.run(*stages)
        return digests(other.lake)


ALL = ("corpus", "embed", "binarize", "quantize")


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Collection:
    collection = Collection.make(tmp_path_factory.mktemp("computed"), model)
    collection.run(*ALL)
    return collection


@pytest.fixture
def collection(computed: Collection, tmp_path: Path) -> Collection:
    """A copy that a test may change."""
    return computed.copy(tmp_path / "project", "lake.zarr", "corpora")


def test_the_first_run_computes_every_row(
    collection: Collection, counts: dict[str, int], tmp_path: Path
) -> None:
    assert digests(collection.lake) == collection.from_scratch(tmp_path / "scratch", *ALL)
    assert counts == {"texts": 300, "phase1": 2 * 340, "pq": 2 * 300, "int8": 300}


def test_a_second_run_computes_no_row(collection: Collection, counts: dict[str, int]) -> None:
    before = digests(collection.lake)
    collection.run(*ALL)
    assert counts == {}
    assert digests(collection.lake) == before


def test_growing_keeps_rows_and_encodes_new_slabs(
    collection: Collection, counts: dict[str, int], tmp_path: Path
) -> None:
    place = collection.lake / "embeddings" / "tiny" / "first"
    rows, names = open_leaf(place, EMBEDDINGS).read("documents"), collection.ids()
    collection.resize(SIZES[1], grown_from=SIZES[:1])
    collection.run(*ALL)
    # The last of 300 rows lay in a slab that begins at 256.
    assert counts["texts"] == 400 - 256
    assert counts["phase1"] == 2 * (400 - 256)
    # Fitted on every document, PQ is another codec now; whether the ranges of INT8 moved is for the data to say.
    assert counts["pq"] == 2 * 400
    np.testing.assert_array_equal(open_leaf(place, EMBEDDINGS).read("documents")[:256], rows[:256])
    assert collection.ids()[:300] == names
    assert digests(collection.lake) == collection.from_scratch(tmp_path / "scratch", *ALL)


def test_without_the_earlier_size_every_row_moves(collection: Collection, counts: dict[str, int]) -> None:
    collection.resize(SIZES[1])
    collection.run("corpus", "embed")
    assert counts["texts"] == 400


def test_shrinking_takes_over_what_is_left(
    collection: Collection, counts: dict[str, int], tmp_path: Path
) -> None:
    collection.resize(SIZES[1], grown_from=SIZES[:1])
    collection.run(*ALL)
    counts.clear()
    collection.resize(SIZES[0])
    collection.run(*ALL)
    assert counts["texts"] == 300 - 256
    assert counts["phase1"] == 2 * (300 - 256)
    assert digests(collection.lake) == collection.from_scratch(tmp_path / "scratch", *ALL)


def test_new_judgements_of_the_first_slab_are_measured_anew(
    collection: Collection, counts: dict[str, int], tmp_path: Path
) -> None:
    """The cost of float16 needs the float32 vectors of the first slab, and of no other."""
    with (collection.root / "data/first/qrels/test.tsv").open("a") as file:
        file.write(f"q0\t{collection.ids()[0]}\t2\n")
    collection.run("corpus", "embed")
    assert counts["texts"] == SLAB
    scratch = collection.from_scratch(tmp_path / "scratch", "corpus", "embed")
    assert {name: value for name, value in digests(collection.lake).items() if name in scratch} == scratch


@pytest.mark.parametrize(
    ("change", "affected"),
    [
        (lambda content: content["models"]["tiny"].update(document_prefix="text: "), "texts"),
        (lambda content: content["models"]["tiny"].update(max_tokens=8), "texts"),
        (lambda content: content["embed"].update(batch_size=3), "texts"),
        (lambda content: content["embed"].update(slab=65), "texts"),
        (lambda content: content["binarize"]["codecs"]["phase1"].update(bits=[64, 256]), "phase1"),
        (lambda content: content["binarize"]["codecs"]["phase1"].update(seeds=[0, 2]), "phase1"),
        (lambda content: content["quantize"]["codecs"]["pq"].update(iterations=1), "pq"),
        (lambda content: content["quantize"].update(fit_sample=299), "pq"),
    ],
    ids=["prefix", "cut", "batch", "slab", "bits", "seeds", "iterations", "sample"],
)
def test_another_setting_computes_everything_it_affects(
    collection: Collection,
    counts: dict[str, int],
    change: Callable[[dict[str, Any]], None],
    affected: str,
) -> None:
    collection.change(change)
    stage, rows = {
        "texts": ("embed", 300),
        "phase1": ("binarize", 2 * 340),
        "pq": ("quantize", 2 * 300),
    }[affected]
    collection.run(stage)
    assert counts[affected] == rows


@pytest.mark.parametrize("stage", ["embed", "binarize", "quantize"])
def test_changed_code_computes_everything_it_affects(
    collection: Collection, counts: dict[str, int], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    module = "stages.embed" if stage == "embed" else "pipeline.cells.encode"
    monkeypatch.setattr(f"{module}.code_digest", lambda name: f"another {name}")
    collection.run(stage)
    assert (
        counts
        == {
            "embed": {"texts": 300},
            "binarize": {"phase1": 2 * 340},
            "quantize": {"pq": 2 * 300, "int8": 300},
        }[stage]
    )


def test_code_that_computes_values_is_a_codec_s_or_an_encoder_s_alone() -> None:
    """A digest of more would compute everything again after changes that cannot matter."""
    from pipeline.code import import_closure

    for module, packages in (
        ("store.codecs.pq", {"store/codecs", "store/numerics"}),
        ("store.codecs.phase1", {"store/codecs"}),
        ("store.encoders.prepare", {"store/encoders"}),
    ):
        closure = import_closure(ROOT, module, growth.OF_VALUES)
        assert module.replace(".", "/") + ".py" in closure
        allowed = {
            "store/__init__.py",
            "store/leaf/digest.py",
            "store/search/summation.py",
            "store/search/vectors.py",
        }
        assert {str(Path(path).parent) for path in closure if path not in allowed} == packages
    assert "store/search/inner_product.py" in import_closure(ROOT, "store.codecs.pq")
    assert growth.code_digest("store.codecs.pq") != growth.code_digest("store.codecs.int8")


def test_damage_of_the_earlier_leaf_is_computed_anew(collection: Collection, counts: dict[str, int]) -> None:
    before = digests(collection.lake)
    shard = collection.lake / "embeddings/tiny/first/documents/c.1.0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    collection.run("embed")
    assert counts == {"texts": SLAB}
    assert digests(collection.lake) == before


def commit_vectors(root: Path, values: np.ndarray[Any, np.dtype[np.float16]]) -> None:
    with commit_leaf(Layout(root), EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", values)
        leaf.write("queries", values[:3])
        leaf.describe(**CELL, corpus_digest="", encoder={}, storage={})


@pytest.mark.parametrize(("within", "made"), [(True, 400 - 256), (False, 400)])
def test_int8_codes_stay_where_no_range_moved(
    collection: Collection, counts: dict[str, int], tmp_path: Path, within: bool, made: int
) -> None:
    values = np.random.RandomState(0).uniform(-0.5, 0.5, (400, DIMENSION)).astype(np.float16)
    values[0], values[1] = -0.5, 0.5
    values[399, 3] = 0.5 if within else 0.75
    commit_vectors(collection.root, values[:300])
    collection.run("quantize")
    counts.clear()
    commit_vectors(collection.root, values)
    collection.run("quantize")
    assert counts == {"int8": made, "pq": 2 * 400}
    grown = digests(collection.lake / "quantized_codes")
    shutil.rmtree(collection.lake / "quantized_codes")
    collection.run("quantize")
    assert digests(collection.lake / "quantized_codes") == grown


def test_only_new_objects_are_pushed(collection: Collection, tmp_path: Path) -> None:
    """The real `dvc` and a local remote: shards that were full before are not sent again."""
    project = Checkout(tmp_path / "shared", tmp_path / "data")
    (project.root / ".dvc").mkdir(parents=True)
    (project.root / ".dvc/config").write_text(
        "[core]\n    no_scm = True\n    remote = local\n['remote \"local\"']\n    url = ../remote\n"
    )
    remote = project.root / "remote" / "files" / "md5"

    def objects() -> set[str]:
        return {path.parent.name + path.name for path in remote.rglob("*") if path.is_file()}

    def push() -> tuple[set[str], dict[str, str]]:
        """The objects that a push adds to the remote, and the digest of every file that was shared."""
        before = objects()
        files = {}
        for artifact in ("embeddings", "binary_codes"):
            target = project.root / artifact
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(collection.lake / artifact / "tiny" / "first", target)
            for path in filter(Path.is_file, target.rglob("*")):
                name = str(path.relative_to(project.root))
                files[name] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        project.dvc("add", "embeddings", "binary_codes")
        project.dvc("push")
        return objects() - before, files

    added, first = push()
    assert {name for name in added if not name.endswith(".dir")} == set(first.values())
    collection.resize(LARGE, grown_from=SIZES[:1])
    collection.run("corpus", "embed", "binarize")
    added, second = push()
    assert {name for name in added if not name.endswith(".dir")} == set(second.values()) - set(first.values())
    unchanged = {name for name in first if first[name] == second[name]}
    # Two of three shards of 128 embeddings were full; codes of both seeds had one of 256 full.
    assert {name for name in unchanged if "/c." in name and "documents" in name} == {
        "embeddings/documents/c.0.0",
        "embeddings/documents/c.1.0",
        "binary_codes/phase1/documents/c.0.0.0",
        "binary_codes/phase1/documents/c.1.0.0",
    }


def test_a_slab_must_hold_the_cut_off_of_the_storage_cost(
    collection: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load((collection.root / "params.yaml").read_text())
    content["embed"]["slab"] = 10
    write_params(collection.root, content)
    assert (
        run(collection.root, "embed", *[o for key, value in CELL.items() for o in (f"--{key}", value)]) == 1
    )
    assert capsys.readouterr().err == (
        "error: params.yaml: embed: slab is 10, expected more than storage_k, 10\n"
    )


def test_what_was_taken_over_is_said(collection: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    collection.run("embed")
    assert "300 documents (300 of them taken over)" in capsys.readouterr().out


def test_origins_are_in_the_contents_and_not_among_attributes(collection: Collection) -> None:
    place = collection.lake / "embeddings/tiny/first"
    contents = json.loads((place / "zarr.json").read_text())["attributes"]["bitlake"]
    assert {name: len(origins) for name, origins in contents["made_from"].items()} == {
        "documents": 5,
        "storage": 1,
    }
    assert "made_from" not in open_leaf(place, EMBEDDINGS).attributes
