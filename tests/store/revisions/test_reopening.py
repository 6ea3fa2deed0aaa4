"""A leaf opened in another process: at its place, in another checkout, from what DVC has of it; only the very same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.errors import InvalidInput, MissingArtifact
from store.layout import Layout
from store.leaf.reading import Leaf, open_leaf
from store.revisions import reopening
from store.revisions.reopening import reopened, travelling
from store.revisions.revision import open_revision
from tests.store.lakes import CELL, commit_embeddings
from tests.store.revisions.lake_projects import LakeProject, make_project
from tests.store.revisions.remote_projects import LEAF, add_remote, forget, isolate, push

MISSING = (
    "a worker does not find the artifact as the stage opened it; share the project's folder with the workers"
)


@pytest.fixture(autouse=True)
def nothing_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reopening._opened.clear()
    monkeypatch.setattr(reopening, "CHECKOUT", tmp_path / "no-checkout")


def leaf_at(root: Path, seed: int = 0) -> Leaf:
    commit_embeddings(Layout(root), rows=300, seed=seed)
    return open_leaf(Layout(root).leaf("embeddings", CELL), EMBEDDINGS)


def again(leaf: Leaf) -> Leaf:
    reopen, arguments = travelling(leaf)
    return reopen(*arguments)


def test_a_leaf_is_found_where_it_lies_and_opened_once(tmp_path: Path) -> None:
    leaf = leaf_at(tmp_path)
    found = again(leaf)
    assert found is not leaf
    assert found.read("documents").tobytes() == leaf.read("documents").tobytes()
    assert again(leaf) is found


def test_identity_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    one, same = leaf_at(tmp_path / "one"), leaf_at(tmp_path / "same")
    assert one.identity == same.identity
    assert leaf_at(tmp_path / "other", seed=1).identity != one.identity


def test_the_leaf_of_the_worker_s_own_checkout_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = leaf_at(tmp_path / "lake.zarr" / "stage")  # below a folder that is called like the lake
    leaf_at(tmp_path / "worker")
    monkeypatch.setattr(reopening, "CHECKOUT", tmp_path / "worker")
    reopen, arguments = travelling(leaf)
    expected = leaf.read("documents", slice(100, 200))
    shutil.rmtree(tmp_path / "lake.zarr")
    found = reopen(*arguments)
    assert str(tmp_path / "worker") in found.source.label
    assert np.array_equal(found.read("documents", slice(100, 200)), expected)


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeProject:
    """A checkout that has nothing but Git's files; its default remote has the leaf."""
    isolate(monkeypatch, tmp_path)
    project = make_project(tmp_path / "worker")
    commit_embeddings(project.layout, rows=300)
    add_remote(project, "store", url=str(tmp_path / "remote"), default=True)
    project.save("embeddings", [LEAF])
    push(project)
    forget(project)
    return project


def test_what_a_worker_does_not_hold_is_read_from_the_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed: LakeProject
) -> None:
    reopen, arguments = travelling(leaf_at(tmp_path / "stage"))
    expected = open_leaf(Path(arguments[0]), EMBEDDINGS).read("documents", slice(100, 200))
    shutil.rmtree(tmp_path / "stage")
    monkeypatch.setattr(reopening, "CHECKOUT", pushed.root)
    found = reopen(*arguments)
    assert found.source.label.startswith(LEAF)
    assert np.array_equal(found.read("documents", slice(100, 200)), expected)
    assert not pushed.layout.lake.exists()


def test_another_leaf_does_not_serve_wherever_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed: LakeProject
) -> None:
    reopen, arguments = travelling(leaf_at(tmp_path / "stage", seed=7))
    leaf_at(tmp_path / "stage", seed=8)
    monkeypatch.setattr(reopening, "CHECKOUT", pushed.root)
    with pytest.raises(MissingArtifact, match=MISSING):
        reopen(*arguments)


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda place: (place / "zarr.json").write_text("{")])
def test_a_leaf_that_is_nowhere_or_damaged_is_missing(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    reopen, arguments = travelling(leaf_at(tmp_path))
    damage(Layout(tmp_path).leaf("embeddings", CELL))
    with pytest.raises(MissingArtifact, match=MISSING):
        reopen(*arguments)


def test_a_leaf_of_a_revision_does_not_travel(pushed: LakeProject) -> None:
    leaf = open_leaf(open_revision(str(pushed.root)).source(LEAF), EMBEDDINGS)
    with pytest.raises(
        InvalidInput, match=r"only artifacts of the workspace can be worked on by other processes"
    ):
        travelling(leaf)


def test_those_opened_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reopening, "_KEPT", 2)
    leaves = [leaf_at(tmp_path / name, seed=at) for at, name in enumerate("abc")]
    first = again(leaves[0])
    assert again(leaves[1]) is again(leaves[1])
    assert again(leaves[0]) is first
    again(leaves[2])
    assert again(leaves[0]) is first
    assert len(reopening._opened) == 2
    assert reopened(*travelling(leaves[1])[1]).identity == leaves[1].identity
