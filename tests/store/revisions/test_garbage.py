"""Garbage collection frees what no revision uses, and nothing that a published one needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.errors import InvalidInput, MissingArtifact
from store.revisions.garbage import Garbage, collect_garbage
from store.revisions.publication import publish
from store.revisions.verification import verify
from tests.store.lakes import commit_embeddings
from tests.store.revisions.lake_projects import LakeProject, make_project
from tests.store.revisions.remote_projects import LEAF, add_remote, environment


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield


def version(project: LakeProject, seed: int, *, tag: str = "") -> None:
    commit_embeddings(project.layout, rows=300, seed=seed)
    project.save(f"version {seed}", [LEAF], tag=tag)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> LakeProject:
    """Versions 1 (tagged), 2 (of no revision but a commit), 3 (of a branch) and 4 (the workspace)."""
    project = make_project(tmp_path_factory.mktemp("history") / "project")
    version(project, 1, tag="v1")
    version(project, 2)
    project.git("checkout", "--quiet", "-b", "side")
    version(project, 3)
    project.git("checkout", "--quiet", "main")
    version(project, 4)
    return project


@pytest.fixture
def project(history: LakeProject, tmp_path: Path) -> LakeProject:
    shutil.copytree(history.root, tmp_path / "copy" / "project")
    return LakeProject(tmp_path / "copy" / "project")


def cached(project: LakeProject) -> dict[str, int]:
    folder = project.root / ".dvc/cache/files/md5"
    return {"".join(path.parts[-2:]): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def used_only_by(project: LakeProject, rev: str, others: list[str]) -> set[str]:
    from store.revisions.revision import open_revision

    def objects(at: str) -> set[str]:
        revision = open_revision(str(project.root), at)
        return {revision.outputs[LEAF].oid, *revision.files(LEAF).values()}

    return objects(rev) - set().union(*map(objects, others))


def test_a_dry_run_counts_and_removes_nothing(project: LakeProject) -> None:
    before = cached(project)
    garbage = used_only_by(project, "main~1", ["v1", "side", "main"])
    assert garbage
    found = collect_garbage(project.root)
    assert found == Garbage(len(garbage), sum(before[oid] for oid in garbage), removed=False)
    assert cached(project) == before
    assert found.as_json() == {"objects": found.objects, "size": found.size, "removed": False, "notes": []}


def test_tags_branches_and_the_workspace_lose_nothing(project: LakeProject) -> None:
    before = cached(project)
    garbage = used_only_by(project, "main~1", ["v1", "side", "main"])
    assert collect_garbage(project.root, remove=True).removed
    assert set(before) - set(cached(project)) == garbage
    assert verify(str(project.root)).faults == ()
    for rev in ("v1", "side", "main"):
        assert verify(str(project.root), rev).faults == ()
    assert collect_garbage(project.root, remove=True) == Garbage(0, 0, removed=False)


def test_what_another_study_has_computed_is_kept(project: LakeProject) -> None:
    """Its stage is not in `dvc.yaml` under this study; its entry in the lock file stays."""
    computed = used_only_by(project, "main", ["v1", "side"])
    assert computed
    (project.root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    project.git("commit", "--quiet", "--all", "--message", "another study")
    assert collect_garbage(project.root, remove=True).removed
    assert computed <= set(cached(project))


def test_with_all_commits_every_commit_keeps_its_objects(project: LakeProject) -> None:
    before = cached(project)
    assert collect_garbage(project.root, remove=True, all_commits=True) == Garbage(0, 0, removed=False)
    assert cached(project) == before


def test_lists_of_earlier_releases_come_from_the_revision_of_a_shipped_remote(project: LakeProject) -> None:
    """A clone that pulled the last release knows nothing of the one before: DVC would ask, or take its files."""
    add_remote(project, "shipped", default=True, url="../remote")
    for tag in ("r1", "r2"):
        version(project, 5 if tag == "r1" else 6)
        publish(project.root)
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message", tag)
        project.git("tag", tag)
    for rev in ("v1", "side"):
        project.git(*(["tag", "--delete", rev] if rev == "v1" else ["branch", "-D", rev]))
    first = used_only_by(project, "r1", ["r2"])
    manifest = next(oid for oid in first if oid.endswith(".dir"))
    (project.root / ".dvc/cache/files/md5" / manifest[:2] / manifest[2:]).unlink()
    collect_garbage(project.root, remove=True)
    assert first <= set(cached(project))


def test_a_revision_whose_list_of_files_is_lost_stops_the_collection(project: LakeProject) -> None:
    from store.revisions.revision import open_revision

    manifest = open_revision(str(project.root), "v1").outputs[LEAF].oid
    (project.root / ".dvc/cache/files/md5" / manifest[:2] / manifest[2:]).unlink()
    before = cached(project)
    with pytest.raises(
        InvalidInput, match=rf"{LEAF} of [0-9a-f]{{7}}: its list of files is in neither the cache"
    ):
        collect_garbage(project.root, remove=True)
    assert cached(project) == before


def test_from_a_folder_inside_the_project_the_same_is_found(project: LakeProject) -> None:
    before = cached(project)
    assert collect_garbage(project.root / "lake.zarr/embeddings") == collect_garbage(project.root)
    with pytest.raises(MissingArtifact, match="is not a DVC project, nor is any folder above it"):
        collect_garbage(project.root.parent, remove=True)
    assert cached(project) == before


def share(project: LakeProject) -> LakeProject:
    """Another clone, with a version of its own, that keeps its objects in the same cache outside of both."""
    shared = project.root.parent / "shared"
    shutil.move(project.root / ".dvc/cache", shared)
    other = LakeProject(Path(shutil.copytree(project.root, project.root.parent / "other")))
    for each in (project, other):
        with open(each.root / ".dvc/config", "a") as file:
            file.write("[cache]\n    dir = ../../shared\n")
        each.git("commit", "--quiet", "--all", "--message", "shared cache")
    version(other, 7)
    return other


def test_a_cache_outside_the_project_is_not_judged_alone(project: LakeProject) -> None:
    other = share(project)
    with pytest.raises(InvalidInput, match=r"the cache: .*shared.* lies outside .* --project ROOT, or say"):
        collect_garbage(project.root, remove=True)
    assert collect_garbage(project.root, remove=True, projects=[other.root / "lake.zarr"]).removed
    for each in (project, other):
        assert verify(str(each.root)).faults == ()
        assert verify(str(each.root), "main").faults == ()
    alone = collect_garbage(project.root, remove=True, alone=True)
    assert alone.removed
    assert verify(str(other.root), "main").faults != ()


def test_a_linked_cache_is_outside_too(project: LakeProject) -> None:
    shutil.move(project.root / ".dvc/cache", project.root.parent / "shared")
    (project.root / ".dvc/cache").symlink_to(project.root.parent / "shared")
    with pytest.raises(InvalidInput, match="lies outside the project"):
        collect_garbage(project.root, remove=True)


def test_a_lock_without_what_is_here_stops_the_collection(project: LakeProject) -> None:
    before = cached(project)
    (project.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    project.git("commit", "--quiet", "--all", "--message", "nothing locked")
    with pytest.raises(InvalidInput, match=rf"does not have stage embeddings-m-d, although {LEAF} is here"):
        collect_garbage(project.root, remove=True)
    shutil.rmtree(project.root / LEAF)
    with pytest.raises(InvalidInput, match=r"names nothing of what dvc\.yaml promises"):
        collect_garbage(project.root, remove=True)
    assert cached(project) == before


def test_histories_with_other_layouts_conflicts_and_lost_lists_are_collected(project: LakeProject) -> None:
    """As a real one is: commits without a lock file, with broken ones, and with lists of files that nobody has."""
    used = {oid for rev in ("v1", "side", "main", "main~1") for oid in used_only_by(project, rev, [])}
    lock = (project.root / "dvc.lock").read_text()
    for name, text in (
        ("dvc.lock", f"<<<<<<< ours\n{lock}=======\n>>>>>>> theirs\n"),
        ("dvc.yaml", "stages: [\n"),
    ):
        before = (project.root / name).read_text()
        (project.root / name).write_text(text)
        project.git("commit", "--quiet", "--all", "--message", "broken")
        (project.root / name).write_text(before)
        project.git("commit", "--quiet", "--all", "--message", "repaired")
    project.git("rm", "--quiet", "--cached", "dvc.lock")
    project.git("commit", "--quiet", "--message", "no lock")
    project.git("add", "dvc.lock")
    project.git("commit", "--quiet", "--message", "lock")
    assert collect_garbage(project.root, remove=True, all_commits=True) == Garbage(0, 0, removed=False)
    assert used <= set(cached(project))
    manifest = next(
        oid for oid in used_only_by(project, "main~7", ["v1", "side", "main"]) if oid.endswith(".dir")
    )
    (project.root / ".dvc/cache/files/md5" / manifest[:2] / manifest[2:]).unlink()
    found = collect_garbage(project.root, all_commits=True)
    (note,) = found.notes
    assert note.startswith("1 artifacts of commits without a tag or branch can no longer be restored")
    assert found.objects > 0


def test_beside_an_unfinished_study_nothing_is_warned_of(
    project: LakeProject, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = project.root / "dvc.yaml"
    more = "".join(
        f"  more{n}:\n    cmd: 'true'\n    outs:\n    - lake.zarr/embeddings/m/d{n}\n" for n in range(100)
    )
    graph.write_text(graph.read_text() + more)
    collect_garbage(project.root)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["staged", "stashed", "in another work tree"])
def test_what_is_set_aside_keeps_its_objects(project: LakeProject, how: str) -> None:
    """Uncommitted, so that no branch or tag has its lock file."""
    from dvc.repo import Repo

    lock = project.root / "dvc.lock"
    committed, before = lock.read_bytes(), set(cached(project))
    commit_embeddings(project.layout, rows=300, seed=9)
    with Repo(str(project.root)) as repo:
        repo.commit(force=True)
    added, changed = set(cached(project)) - before, lock.read_bytes()
    assert added
    if how == "staged":
        project.git("add", "dvc.lock")
        lock.write_bytes(committed)
    else:
        project.git("stash")
    if how == "in another work tree":
        project.git("stash", "drop", "--quiet")
        tree = project.root.parent / "tree"
        project.git("worktree", "add", "--quiet", "--detach", str(tree))
        (tree / "dvc.lock").write_bytes(changed)
    assert lock.read_bytes() == committed
    assert collect_garbage(project.root, remove=True).removed
    assert added <= set(cached(project))
