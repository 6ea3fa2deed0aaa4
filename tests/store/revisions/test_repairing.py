"""Bit rot ends: what is damaged is named, and one command restores it from whatever is sound."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from store.revisions.places import in_workspace
from store.revisions.pulling import pull
from store.revisions.repairing import repair
from store.revisions.revision import open_revision
from store.revisions.verification import verify
from tests.store.lakes import commit_embeddings
from tests.store.revisions.lake_projects import LakeProject, rot
from tests.store.revisions.remote_projects import add_remote, environment, push
from tests.store.small_studies import EMBEDDINGS, make_study

CHUNK = "documents/c.0.0"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    with environment(tmp_path_factory.mktemp("environment")):
        project = make_study(tmp_path_factory.mktemp("sound") / "project")
        add_remote(project, "shelf", default=True, url="../../shelf")
        push(project)
        yield project


@pytest.fixture
def project(sound: LakeProject, tmp_path: Path) -> LakeProject:
    shutil.copytree(sound.root.parent, tmp_path / "copy")
    return LakeProject(tmp_path / "copy" / sound.root.name)


def cached(project: LakeProject, name: str = CHUNK) -> Path:
    revision = open_revision(str(project.root))
    oid = revision.files(EMBEDDINGS)[name] if name else revision.outputs[EMBEDDINGS].oid
    return project.root / ".dvc/cache/files/md5" / oid[:2] / oid[2:]


def lines(project: LakeProject) -> list[str]:
    return [fault.line for fault in verify(str(project.root)).faults]


def test_damage_in_workspace_and_cache_is_restored_from_the_remote(project: LakeProject) -> None:
    there = cached(project)
    rot(there)
    rot(project.root / EMBEDDINGS / CHUNK)
    found = lines(project)
    oid = "".join(there.parts[-2:])
    assert found[0] == (
        f"{EMBEDDINGS}/{CHUNK}: its object {oid} in the cache is damaged ({there}); run `lake verify --repair`"
    )
    assert all(line.endswith("run `lake verify --repair`") for line in found)
    done = repair(project.root)
    assert done.left == []
    assert len(done.done) == 2
    assert lines(project) == []
    # What comes out of the cache from now on is right.
    shutil.rmtree(project.root / EMBEDDINGS)
    with Repo(str(project.root)) as repo:
        repo.pull()
    assert lines(project) == []
    assert repair(project.root).done == []


def test_damage_of_the_cache_alone_is_restored_from_the_workspace(project: LakeProject) -> None:
    shutil.rmtree(project.root.parent / "shelf")
    rot(cached(project))
    assert len(lines(project)) == 1
    assert repair(project.root).left == []
    assert lines(project) == []


@pytest.mark.parametrize("name", ["", "zarr.json"])
def test_a_damaged_list_or_document_in_the_cache_is_restored(project: LakeProject, name: str) -> None:
    path = cached(project, name)
    rot(path)
    assert any("in the cache is damaged" in line for line in lines(project))
    assert repair(project.root).left == []
    assert lines(project) == []


def test_damage_that_is_nowhere_sound_is_removed_and_the_remedy_is_to_recompute(project: LakeProject) -> None:
    shutil.rmtree(project.root.parent / "shelf")
    there = cached(project)
    rot(there)
    rot(project.root / EMBEDDINGS / CHUNK)
    (said, _) = repair(project.root).left
    assert "is removed; remote 'shelf': does not have object" in said
    assert "`dvc repro`" in said
    assert not there.exists()


def test_a_leaf_that_is_another_one_than_the_lock_files_is_not_touched(project: LakeProject) -> None:
    commit_embeddings(project.layout, rows=600, seed=9)
    before = {path: path.read_bytes() for path in (project.root / EMBEDDINGS).rglob("*") if path.is_file()}
    (said,) = repair(project.root).left
    assert said.startswith(f"{EMBEDDINGS}: is another artifact than the lock file's")
    assert {path: path.read_bytes() for path in before} == before


def test_what_an_interrupted_pull_left_is_named_and_the_next_pull_goes_on(project: LakeProject) -> None:
    left = project.root / EMBEDDINGS / "documents/.M2pzX0hVQ0d3bFZ6cU5rZg.tmp"
    left.write_bytes(b"half")
    line = f"is left by an interrupted `dvc pull`; run `rm {left.relative_to(project.root)}`, then pull again"
    assert lines(project) == [f"{left.relative_to(project.root)}: {line}"]
    (project.root / EMBEDDINGS / CHUNK).unlink()
    pull(project.root)
    assert not left.exists()
    assert lines(project) == []
    left.write_bytes(b"half")
    assert repair(project.root).done == [
        f"{left.relative_to(project.root)}: removed what an interrupted pull left"
    ]
    assert in_workspace(project.root, []).notes == ()
