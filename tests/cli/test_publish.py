"""`lake publish`: what it says, and its exit code where no tag was made."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from cli import main
from cli.main import app
from tests.store.lakes import commit_embeddings
from tests.store.revisions.lake_projects import LakeProject, make_project
from tests.store.revisions.remote_projects import LEAF, add_remote, environment


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    """A study of one artifact, with a remote inside the repository; the working directory is its root."""
    with environment(tmp_path_factory.mktemp("environment")), pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
        project = make_project(tmp_path_factory.mktemp("study") / "project")
        commit_embeddings(project.layout)
        add_remote(project, "shipped", default=True, url="../remote")
        add_remote(project, "shelf", url="../../shelf")
        project.save("study", [LEAF])
        patch.chdir(project.root)
        yield project


def lake(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["publish", *arguments])


def test_a_remote_inside_the_repository_is_committed_first_and_then_tagged(project: LakeProject) -> None:
    done = lake("--tag", "v1")
    assert done.exit_code == 1
    first, second = done.stdout.splitlines()
    assert first.startswith("remote 'shipped': all ")
    assert second == "remote/ has changed: commit it, then run `lake publish --tag v1` again"
    assert project.git("tag") == ""
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "remote")
    done = lake("--tag", "v1")
    assert done.exit_code == 0
    first, second = done.stdout.splitlines()
    assert "(0 sent)" in first
    assert second == "tagged v1: share it with `git push origin v1`"
    assert project.git("tag") == "v1"


def test_without_a_tag_a_changed_folder_is_no_failure(project: LakeProject) -> None:
    done = lake()
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1] == "remote/ has changed: commit it"


def test_json_says_the_same(project: LakeProject) -> None:
    content = json.loads(lake("--remote", "shelf", "--tag", "v1", "--json").stdout)
    objects = content["objects"]
    assert objects > 5
    assert content == {
        "remote": "shelf",
        "objects": objects,
        "size": content["size"],
        "sent": objects,
        "removed": 0,
        "commit": None,
        "tag": "v1",
    }


def test_a_refusal_is_one_line_and_exit_code_1(
    project: LakeProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.git("tag", "v1")
    monkeypatch.setattr("sys.argv", ["lake", "publish", "--tag", "v1"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: tag: 'v1' exists already; choose another\n"
