"""An artifact is never half there, and the same values give the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import zarr

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.commit import commit_leaf, replace_folder
from store.errors import InvalidInput
from store.layout import Layout
from store.leaf import open_leaf
from tests.counts import count
from tests.store.lakes import CELL, commit_embeddings, describe_embeddings, vectors


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_values_come_back_and_bytes_repeat(tmp_path: Path) -> None:
    first, second = Layout(tmp_path / "a"), Layout(tmp_path / "b")
    for layout in (first, second):
        commit_embeddings(layout)
    leaf = open_leaf(first.leaf("embeddings", CELL), EMBEDDINGS)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(100))
    assert leaf.attributes["encoder"] == {"name": "tiny"}
    assert digest(first.lake) == digest(second.lake)


def test_parent_groups_make_the_lake_one_tree(tmp_path: Path) -> None:
    commit_embeddings(Layout(tmp_path))
    tree = zarr.open_group(tmp_path / "lake.zarr", mode="r", use_consolidated=False)
    assert "embeddings/m/d/documents" in dict(tree.members(max_depth=None))


def test_overwriting_replaces_everything(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=100)
    commit_embeddings(layout, rows=7, seed=5)
    leaf = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(7, seed=5))
    assert not list(layout.staging.iterdir())


def test_an_error_while_writing_leaves_the_earlier_artifact(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout)
    before = digest(layout.lake)
    with pytest.raises(RuntimeError, match="encoder broke"), commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(5))
        raise RuntimeError("encoder broke")
    assert digest(layout.lake) == before
    assert not list(layout.staging.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda leaf: leaf.write("documents", vectors(5).astype(np.float32)),
            "got float32, expected float16",
        ),
        (lambda leaf: leaf.write("documents", vectors(5)[0]), "got shape"),
        (lambda leaf: leaf.write("vectors", vectors(5)), "not an array of this artifact"),
        (lambda leaf: leaf.describe(host="here"), "'host' is not in its schema"),
        (lambda leaf: leaf.describe(encoder="tiny"), "'encoder' is str"),
        (lambda leaf: None, "array 'documents' is missing"),
    ],
)
def test_what_the_schema_does_not_declare_is_refused(tmp_path: Path, spoil: object, message: str) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InvalidInput, match=message), commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("queries", vectors(3))
        describe_embeddings(leaf)
        if "attribute" in message or "'host'" in message or "'encoder'" in message:
            leaf.write("documents", vectors(5))
        spoil(leaf)  # type: ignore[operator]
    assert not layout.leaf("embeddings", CELL).exists()


def test_arrays_of_one_group_must_agree_on_a_dimension(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match=r"dimension 'dimension' is 8 in 'queries' but 16"),
        commit_leaf(Layout(tmp_path), EMBEDDINGS, CELL) as leaf,
    ):
        leaf.write("documents", vectors(5))
        leaf.write("queries", vectors(5, dimension=8))
        describe_embeddings(leaf)


@pytest.mark.parametrize("step", [1, 7, 64, 65, 1000])
def test_filling_in_blocks_of_any_size_gives_the_same_bytes(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shards of 2 chunks of 64 rows, so that 300 rows span several.
    monkeypatch.setattr("store.schema.SHARD_CHUNKS", 2)
    monkeypatch.setattr("store.schema.CHUNK_BYTES", 64 * 4)
    codes = np.random.RandomState(0).randint(0, 256, (2, 300, 4)).astype(np.uint8)
    whole, parts = Layout(tmp_path / "whole"), Layout(tmp_path / "parts")
    for layout, width in ((whole, 300), (parts, step)):
        with commit_leaf(layout, BINARY_CODES, CELL) as leaf:
            array = leaf.create("phase1/documents", codes.shape)
            assert array.shards == (1, 128, 4)
            for seed in range(2):
                leaf.fill(array, (codes[seed, at : at + width] for at in range(0, 300, width)), seed)
            leaf.write("phase1/queries", codes[:, :3])
            leaf.write("phase1/seed", np.arange(2, dtype=np.int32))
            leaf.describe_group("phase1", bits=[32])
            leaf.describe(**CELL)
    assert digest(whole.lake) == digest(parts.lake)
    found = open_leaf(parts.leaf("binary_codes", CELL), BINARY_CODES)
    np.testing.assert_array_equal(found.read("phase1/documents"), codes)
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in found.blocks("phase1/documents", 1)]), codes[1]
    )


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match="got 5 rows, expected 6"),
        commit_leaf(Layout(tmp_path), EMBEDDINGS, CELL) as leaf,
    ):
        leaf.fill(leaf.create("documents", (6, 16)), [vectors(5)])


def test_replacing_works_without_an_atomic_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.commit._exchange", lambda first, second: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "value").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "value").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from store.layout import Layout
    from tests.store.lakes import commit_embeddings
    layout = Layout(Path(sys.argv[1]))
    print("ready", flush=True)
    for seed in range(10_000):
        commit_embeddings(layout, rows=2000, seed=seed % 2)
    """
)


def test_a_writer_killed_anywhere_leaves_a_whole_artifact(tmp_path: Path) -> None:
    """kill -9 while two versions are committed in turn: what is there afterwards is one of the two, whole."""
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=2000, seed=0)
    versions = [vectors(2000, seed=seed) for seed in range(2)]
    delays = np.random.RandomState(0).uniform(0, 0.2, count(full=40, quick=4))
    for delay in delays:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=float(delay))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS).read("documents")
        assert any(np.array_equal(found, version) for version in versions)
    commit_embeddings(layout, rows=2000, seed=1)
    assert not list(layout.staging.iterdir())
