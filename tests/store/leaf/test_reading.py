"""Opening a leaf: what is missing or damaged raises, and never reads as fill values."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.geometry import GEOMETRY
from store.artifacts.judgements import JUDGEMENTS
from store.errors import DamagedArtifact, MissingArtifact
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.reading import Leaf, open_leaf, same_corpus
from store.leaf.source import Folder
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, describe_embeddings, forge, vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=300)
    return layout.leaf("embeddings", CELL)


def opened(folder: Path) -> Leaf:
    return open_leaf(folder, EMBEDDINGS)


def test_a_leaf_that_is_not_there_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        MissingArtifact, match=r"embeddings/m/d: the artifact is not here; run `dvc repro` or `dvc pull`"
    ):
        opened(Layout(tmp_path).leaf("embeddings", CELL))


def test_another_artifact_in_its_place_is_refused(folder: Path) -> None:
    with pytest.raises(DamagedArtifact, match="holds 'embeddings' version 3, expected 'geometry'"):
        open_leaf(folder, GEOMETRY)


@pytest.mark.parametrize("name", ["model", "dataset"])
def test_a_leaf_of_another_cell_is_refused_in_the_place_of_this_one(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout)
    keys = {**CELL, name: "other"}
    (place := layout.leaf("embeddings", keys)).parent.mkdir(exist_ok=True)
    layout.leaf("embeddings", CELL).rename(place)
    assert open_leaf(place, EMBEDDINGS).attributes[name] == CELL[name]
    with pytest.raises(
        DamagedArtifact,
        match=rf"holds embeddings of .*{name} '{CELL[name]}'.*, expected those of .*{name} 'other'.*; remove it, run",
    ):
        open_leaf(place, EMBEDDINGS, keys)
    with pytest.raises(DamagedArtifact, match="expected those of"):
        open_leaf(Folder(place), EMBEDDINGS, keys)
    assert open_leaf(place, EMBEDDINGS, CELL).attributes[name] == CELL[name]


def test_vectors_and_judgements_of_different_corpora_do_not_meet(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout)
    commit_judgements(layout, documents=100, queries=10)
    embeddings = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    judgements = open_leaf(layout.leaf("judgements", {"dataset": "d"}), JUDGEMENTS)
    same_corpus(embeddings, judgements)
    other = replace(judgements, attributes={**judgements.attributes, "corpus_digest": "1" * 64})
    with pytest.raises(
        DamagedArtifact,
        match=r"embeddings/m/d: was made from corpus 0{12}, but .*judgements/d lists .* corpus 1{12}; run `dvc repro`",
    ):
        same_corpus(embeddings, other)


def test_a_missing_chunk_raises_instead_of_reading_as_zeros(folder: Path) -> None:
    (folder / "documents/c.0.0").unlink()
    with pytest.raises(DamagedArtifact, match=r"documents: chunk c.0.0 is missing"):
        opened(folder)


def test_a_missing_array_raises(folder: Path) -> None:
    shutil.rmtree(folder / "queries")
    with pytest.raises(DamagedArtifact, match="queries"):
        opened(folder)


@pytest.mark.parametrize("position", [0, 1000, 5000, -1])
def test_a_flipped_bit_in_a_chunk_raises_on_reading(folder: Path, position: int) -> None:
    path = folder / "documents/c.0.0"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 is damaged"):
        opened(folder).read("documents")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("zarr.json", lambda d: d["attributes"].pop("encoder"), "attribute 'encoder' is missing"),
        ("zarr.json", lambda d: d["attributes"].pop("bitlake"), "bitlake"),
        ("documents/zarr.json", lambda d: d.update(dimension_names=["row", "column"]), "dimensions are"),
        ("queries/zarr.json", lambda d: d.update(shape=[10, 8]), "dimension 'dimension' is"),
        # One flipped bit, with which Zarr would find no chunk and read fill values.
        (
            "queries/zarr.json",
            lambda d: d["chunk_key_encoding"]["configuration"].update(separator="/"),
            "chunk_key_encoding is",
        ),
    ],
)
def test_documents_that_contradict_the_schema_are_refused(
    folder: Path, name: str, change: object, message: str
) -> None:
    content = json.loads((folder / name).read_text())
    change(content)  # type: ignore[operator]
    (folder / name).write_text(json.dumps(content))
    if name != "zarr.json":
        with pytest.raises(DamagedArtifact, match=r": its zarr.json is not the one that was written"):
            opened(folder)
        forge(folder)
    with pytest.raises(DamagedArtifact, match=message):
        opened(folder)


def test_a_shape_changed_within_the_padding_of_the_last_chunk_is_noticed(folder: Path) -> None:
    document = folder / "queries/zarr.json"
    document.write_text(document.read_text().replace("10,", "11,", 1))
    with pytest.raises(DamagedArtifact, match=r"queries: its zarr.json is not the one that was written"):
        opened(folder)


def test_blocks_cover_every_row_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.leaf.reading.BLOCK_BYTES", 1)
    leaf = opened(folder)
    blocks = list(leaf.blocks("queries"))
    assert [first for first, _ in blocks] == [0]
    assert sum(len(block) for _, block in leaf.blocks("documents")) == 300
    np.testing.assert_array_equal(
        np.concatenate([b for _, b in leaf.blocks("documents")]), leaf.read("documents")
    )


def test_whole_rows_of_the_workspace_are_read_straight_from_their_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = opened(folder)
    monkeypatch.delattr("store.leaf.arrays.array.decoded")
    np.testing.assert_array_equal(leaf.read("documents"), vectors(300))
    np.testing.assert_array_equal(leaf.read("documents", slice(60, 70)), vectors(300)[60:70])
    np.testing.assert_array_equal(leaf.read("documents", -1), vectors(300)[-1])
    assert sum(len(block) for _, block in leaf.blocks("queries")) == 10


@pytest.mark.parametrize("index", [slice(0, 99, 7), (slice(None), 3), [5, 2], (3, 4)])
def test_every_other_index_is_read_by_chunks(folder: Path, index: Any) -> None:
    np.testing.assert_array_equal(opened(folder).read("documents", index), vectors(300)[index])


def test_an_array_that_is_not_there_is_named(folder: Path) -> None:
    leaf = opened(folder)
    for read in (leaf.read, leaf.reader, lambda path: next(leaf.blocks(path))):
        with pytest.raises(MissingArtifact, match=r"has no array 'vectors', only documents, queries"):
            read("vectors")


def test_a_chunk_file_that_vanished_after_opening_is_named(folder: Path) -> None:
    leaf = opened(folder)
    (folder / "documents/c.0.0").unlink()
    with pytest.raises(MissingArtifact, match=r"documents/c.0.0 is not here; run `dvc repro`"):
        leaf.read("documents")


def test_blocks_are_bounded_and_so_is_the_memory_that_reading_them_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 1 << 20
    monkeypatch.setattr("store.leaf.schema.CHUNK_BYTES", bound // 8)
    monkeypatch.setattr("store.leaf.reading.BLOCK_BYTES", bound)
    layout, rows, dimension = Layout(tmp_path), 20 * bound // 256, 128
    with commit_leaf(layout, EMBEDDINGS, CELL) as writer:
        writer.write("documents", np.zeros((rows, dimension), np.float16))
        writer.write("queries", np.zeros((1, dimension), np.float16))
        describe_embeddings(writer)
    leaf = opened(layout.leaf("embeddings", CELL))
    tracemalloc.start()
    try:
        sizes = [block.nbytes for _, block in leaf.blocks("documents")]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sizes == [bound] * 20
    # The block that is read and the one that the caller has not yet let go of, a chunk and the index.
    assert peak <= 2 * bound + bound // 8 + (64 << 10)
