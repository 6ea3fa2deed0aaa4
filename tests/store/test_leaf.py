"""Opening a leaf: what is missing or damaged raises, and never reads as fill values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.geometry import GEOMETRY
from store.errors import DamagedArtifact, MissingArtifact
from store.layout import Layout
from store.leaf import Leaf, open_leaf
from tests.store.lakes import CELL, commit_embeddings


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
    with pytest.raises(DamagedArtifact, match="holds 'embeddings' version 1, expected 'geometry'"):
        open_leaf(folder, GEOMETRY)


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
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        opened(folder).read("documents")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("zarr.json", lambda d: d["attributes"].pop("encoder"), "attribute 'encoder' is missing"),
        ("zarr.json", lambda d: d["attributes"].pop("bitlake"), "bitlake"),
        ("documents/zarr.json", lambda d: d.update(dimension_names=["row", "column"]), "dimensions are"),
        ("queries/zarr.json", lambda d: d.update(shape=[10, 8]), "dimension 'dimension' is"),
    ],
)
def test_documents_that_contradict_the_schema_are_refused(
    folder: Path, name: str, change: object, message: str
) -> None:
    content = json.loads((folder / name).read_text())
    change(content)  # type: ignore[operator]
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(DamagedArtifact, match=message):
        opened(folder)


def test_blocks_cover_every_row_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.leaf.BLOCK_BYTES", 1)
    leaf = opened(folder)
    blocks = list(leaf.blocks("queries"))
    assert [first for first, _ in blocks] == [0]
    assert sum(len(block) for _, block in leaf.blocks("documents")) == 300
    np.testing.assert_array_equal(
        np.concatenate([b for _, b in leaf.blocks("documents")]), leaf.read("documents")
    )
