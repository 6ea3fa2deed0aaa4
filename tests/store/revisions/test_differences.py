"""Differences between revisions: which values, how many, by how much."""

from __future__ import annotations

import json

import numpy as np
import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.leaf.commit import commit_leaf
from store.revisions.differences import ArrayDifference, compare
from store.revisions.revision import open_revision
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, describe_embeddings, vectors
from tests.store.revisions.lake_projects import LakeProject, make_project

PATH = "lake.zarr/embeddings/m/d"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> LakeProject:
    made = make_project(tmp_path_factory.mktemp("differences") / "project")
    (made.root / "report").mkdir()
    (made.root / "report/metrics.json").write_text(json.dumps({"recall": {"pq": 0.5}, "cells": 9}))
    commit_embeddings(made.layout, rows=100)
    commit_judgements(made.layout, documents=100, queries=10)
    made.save("first", [PATH, "lake.zarr/judgements/d"], tag="v1")

    changed = vectors(100)
    changed[7, 3] = np.nextafter(changed[7, 3], np.float16(2))
    changed[8, 0] += np.float16(0.25)
    with commit_leaf(made.layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", changed)
        leaf.write("queries", vectors(10, seed=1))
        describe_embeddings(leaf)
        leaf.describe(encoder={"name": "other"})
    (made.root / "report/metrics.json").write_text(
        json.dumps({"recall": {"pq": 0.75, "int8": 1}, "cells": 9})
    )
    made.save("last bits", [PATH, "lake.zarr/judgements/d"], tag="v2")

    commit_embeddings(made.layout, rows=101)
    commit_judgements(made.layout, documents=100, queries=10, dataset="e")
    made.save("more rows", [PATH, "lake.zarr/judgements/e"], tag="v3")
    return made


def test_a_revision_equals_itself(project: LakeProject) -> None:
    found = compare(open_revision(str(project.root), "v1"), open_revision(str(project.root), "v1"))
    assert (found.added, found.removed, found.changed, found.headline) == ((), (), (), {})


def test_changed_values_are_counted_and_measured(project: LakeProject) -> None:
    revisions = open_revision(str(project.root), "v1"), open_revision(str(project.root), "v2")
    assert compare(*revisions).headline == {}
    found = compare(*revisions, "report/metrics.json")
    assert (found.added, found.removed) == ((), ())
    (leaf,) = found.changed
    assert leaf.path == "embeddings/m/d"
    assert leaf.note == ""
    assert leaf.attributes == ("encoder",)
    before = vectors(100)
    largest = float(np.float64(before[8, 0] + np.float16(0.25)) - np.float64(before[8, 0]))
    assert leaf.arrays == (ArrayDifference("documents", 2, 1600, largest, ((100, 16), (100, 16))),)
    assert found.headline == {"recall.pq": (0.5, 0.75), "recall.int8": (None, 1)}


def test_other_shapes_are_not_compared_and_cells_come_and_go(project: LakeProject) -> None:
    # The workspace is what v3 recorded.
    found = compare(open_revision(str(project.root), "v1"), open_revision(str(project.root)))
    assert (found.added, found.removed) == (("judgements/e",), ("judgements/d",))
    (leaf,) = found.changed
    assert leaf.arrays == (ArrayDifference("documents", 0, 0, None, ((100, 16), (101, 16))),)
    json.dumps(found.as_json())


def test_values_are_compared_in_blocks(project: LakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare(open_revision(str(project.root), "v1"), open_revision(str(project.root), "v2"))
    monkeypatch.setattr("store.revisions.differences.BLOCK_BYTES", 1)
    assert compare(open_revision(str(project.root), "v1"), open_revision(str(project.root), "v2")) == whole


def test_an_artifact_that_cannot_be_had_is_named_and_not_compared(project: LakeProject) -> None:
    oid = open_revision(str(project.root), "v1").outputs[PATH].oid
    manifest = project.root / ".dvc/cache/files/md5" / oid[:2] / oid[2:]
    content = manifest.read_bytes()
    manifest.chmod(0o644)
    manifest.unlink()
    try:
        found = compare(open_revision(str(project.root), "v1"), open_revision(str(project.root), "v2"))
    finally:
        manifest.write_bytes(content)
    (leaf,) = found.changed
    assert leaf.arrays == ()
    assert f"object {oid} is not in the cache" in leaf.note
