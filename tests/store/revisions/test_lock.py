"""A lock file that was cut short is noticed, wherever it was cut, with the command that restores it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from store.errors import InvalidInput
from store.revisions.garbage import collect_garbage
from store.revisions.lock import locked_stages, promised
from store.revisions.revision import open_revision
from store.revisions.verification import verify
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import environment
from tests.store.small_studies import make_study


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield make_study(tmp_path_factory.mktemp("sound") / "project")


@pytest.fixture
def project(sound: LakeProject, tmp_path: Path) -> LakeProject:
    return LakeProject(Path(shutil.copytree(sound.root, tmp_path / "copy")))


def refused(project: LakeProject) -> str:
    with pytest.raises(InvalidInput) as raised:
        locked_stages(project.root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_every_cut_of_a_committed_lock_is_noticed_and_the_remedy_helps(project: LakeProject) -> None:
    lock = project.root / "dvc.lock"
    whole = lock.read_bytes()
    # All but the last line break: at each byte of the last two entries, and here and there before.
    for length in [*range(0, len(whole) - 400, 37), *range(len(whole) - 400, len(whole))]:
        lock.write_bytes(whole[:length])
        assert refused(project).endswith("; run `git checkout dvc.lock`"), length
    project.git("checkout", "dvc.lock")
    assert len(locked_stages(project.root)) == 5


def test_a_cut_that_was_staged_is_restored_from_the_commit(project: LakeProject) -> None:
    lock = project.root / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[: len(lock.read_bytes()) // 2])
    project.git("add", "dvc.lock")
    assert refused(project).endswith("; run `git checkout HEAD dvc.lock`")
    project.git("checkout", "HEAD", "dvc.lock")
    assert len(locked_stages(project.root)) == 5


def test_an_absent_or_empty_lock_beside_artifacts_is_noticed_without_a_commit_too(
    project: LakeProject,
) -> None:
    project.git("rm", "--quiet", "--cached", "dvc.lock")
    project.git("commit", "--quiet", "--message", "without")
    (project.root / "dvc.lock").write_bytes(b"")
    assert refused(project) == ("dvc.lock: is empty, and Git does not have all of it; run `dvc repro`")
    (project.root / "dvc.lock").unlink()
    assert refused(project).startswith("dvc.lock: is not there")
    shutil.rmtree(project.root / "lake.zarr")
    assert locked_stages(project.root) == {}


def test_a_lock_that_grows_or_loses_what_has_no_stage_is_whole(project: LakeProject) -> None:
    lock, graph = project.root / "dvc.lock", project.root / "dvc.yaml"
    content = yaml.safe_load(lock.read_text())
    stages = content["stages"]
    gone = stages.pop("quality-m-d")
    stages["another"] = gone
    lock.write_text(yaml.safe_dump(content, sort_keys=False))
    assert "has lost stage quality-m-d" in refused(project)
    described = yaml.safe_load(graph.read_text())
    del described["stages"]["quality-m-d"]
    graph.write_text(yaml.safe_dump(described, sort_keys=False))
    assert set(locked_stages(project.root)) == {*stages}


def test_a_merge_that_is_not_resolved_is_named(project: LakeProject) -> None:
    lock = project.root / "dvc.lock"
    lock.write_text(f"<<<<<<< ours\n{lock.read_text()}=======\n>>>>>>> theirs\n")
    assert "holds both sides of a merge" in refused(project)


def test_everything_that_reads_the_lock_notices(project: LakeProject) -> None:
    lock = project.root / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[:-40])
    for read in (
        lambda: open_revision(str(project.root)),
        lambda: verify(str(project.root)),
        lambda: collect_garbage(project.root, remove=True),
    ):
        with pytest.raises(InvalidInput, match=r"git checkout dvc\.lock"):
            read()


def test_promised_stages_are_those_of_matrices_and_lists(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("study: {models: [m, n], cells: [{model: m}]}\n")
    graph = {
        "one": {"cmd": "x", "outs": ["a", {"b": {"cache": False}}]},
        "two": {
            "matrix": {"model": "${study.models}", "dataset": ["d"]},
            "cmd": "x",
            "outs": ["c/${item.model}/${item.dataset}"],
        },
        "three": {"foreach": "${study.cells}", "do": {"cmd": "x", "outs": ["e/${item.model}"]}},
        "four": {"foreach": ["p"], "do": {"cmd": "x"}},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}, sort_keys=False))
    assert promised(tmp_path) == {
        "one": ("a", "b"),
        "two@m-d": ("c/m/d",),
        "two@n-d": ("c/n/d",),
        "three@0": ("e/m",),
        "four@p": (),
    }
