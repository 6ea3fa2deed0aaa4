"""Where outputs are: told from sizes and the document at the root, not by reading everything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from store.revisions.places import Found, Locked, everywhere, in_workspace
from store.revisions.revision import open_revision
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import add_remote, environment
from tests.store.small_studies import EMBEDDINGS, KEPT, NEIGHBOURS, make_study


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield make_study(tmp_path_factory.mktemp("study") / "project")


def locked(project: LakeProject) -> list[Locked]:
    outs = open_revision(str(project.root)).repo.index.outs
    return [
        Locked(out.def_path, out.hash_info.value, out.meta.size, out.meta.nfiles, out.use_cache)
        for out in outs
    ]


def look(project: LakeProject) -> Found:
    return everywhere(project.root, locked(project))


def test_the_cache_holds_what_is_kept(project: LakeProject) -> None:
    found = look(project)
    assert found.places == {**dict.fromkeys(KEPT, ("local", "cache")), NEIGHBOURS: ("local",)}
    assert (found.other, found.notes) == (frozenset(), ())


def test_in_the_workspace_alone_nothing_else_is_asked(project: LakeProject) -> None:
    found = in_workspace(project.root, locked(project))
    assert found.places == dict.fromkeys((*KEPT, NEIGHBOURS), ("local",))


def test_an_object_without_one_of_its_files_is_not_in_the_cache(project: LakeProject) -> None:
    manifest = open_revision(str(project.root)).files(EMBEDDINGS)
    md5 = manifest["documents/c.0.0"]
    (project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    assert look(project).places[EMBEDDINGS] == ("local",)


def test_a_missing_chunk_or_another_document_is_something_else(project: LakeProject) -> None:
    document = project.root / EMBEDDINGS / "zarr.json"
    before = document.read_bytes()
    # As long as before.
    document.write_bytes(before.replace(b"tiny", b"tinx"))
    assert len(document.read_bytes()) == len(before)
    found = look(project)
    assert found.other == {EMBEDDINGS}
    assert found.places[EMBEDDINGS] == ("cache",)
    document.write_bytes(before)
    (project.root / EMBEDDINGS / "documents/c.0.0").unlink()
    assert look(project).other == {EMBEDDINGS}
    shutil.rmtree(project.root / EMBEDDINGS)
    assert look(project).other == frozenset()


def test_the_default_remote_is_asked_and_no_other(project: LakeProject) -> None:
    add_remote(project, "shelf", url=str(project.root.parent / "shelf"))
    open_revision(str(project.root)).repo.push(remote="shelf")
    assert look(project).places[EMBEDDINGS] == ("local", "cache")
    add_remote(project, "empty", default=True, url=str(project.root.parent / "empty"))
    assert look(project).places[EMBEDDINGS] == ("local", "cache")
    add_remote(project, "again", default=True, url=str(project.root.parent / "shelf"))
    assert look(project).places == {
        **dict.fromkeys(KEPT, ("local", "cache", "remote")),
        NEIGHBOURS: ("local",),
    }
