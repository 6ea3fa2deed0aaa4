"""`lake gc`: nothing is removed before it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.store.lakes import commit_embeddings
from tests.store.revisions.lake_projects import LakeProject, make_project
from tests.store.revisions.remote_projects import LEAF, environment


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    """Two versions, the first of which only a commit has; the working directory is the project's root."""
    with environment(tmp_path_factory.mktemp("environment")), pytest.MonkeyPatch.context() as patch:
        project = make_project(tmp_path_factory.mktemp("study") / "project")
        for seed in range(2):
            commit_embeddings(project.layout, seed=seed)
            project.save(f"version {seed}", [LEAF])
        patch.chdir(project.root)
        yield project


def lake(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["gc", *arguments])
    assert done.exit_code == 0
    return done.stdout


def cached(project: LakeProject) -> set[Path]:
    return {path for path in (project.root / ".dvc/cache/files").rglob("*") if path.is_file()}


def test_it_counts_then_removes_when_told_to(project: LakeProject) -> None:
    before = cached(project)
    said = lake()
    assert cached(project) == before
    found = json.loads(lake("--json"))
    assert said == (
        f"{found['objects']} objects of the cache, {found['size'] / 1000:.1f} kB, are used by no revision: "
        "`lake gc --yes` removes them\n"
    )
    assert lake("--all-commits") == "the cache holds nothing that is not used\n"
    assert (
        lake("--yes") == f"removed {found['objects']} objects of the cache, {found['size'] / 1000:.1f} kB\n"
    )
    gone = before - cached(project)
    assert len(gone) == found["objects"] > 0
    assert lake() == "the cache holds nothing that is not used\n"
