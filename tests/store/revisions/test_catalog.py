"""The catalog: where artifacts are, what made them, and since when."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from store.errors import InvalidInput
from store.revisions.catalog import catalog, lineage, open_artifact
from store.revisions.revision import open_revision
from tests.store.lakes import commit_embeddings, commit_judgements
from tests.store.revisions.lake_projects import LakeProject, make_project

EMBEDDINGS = "lake.zarr/embeddings/m/d"
JUDGEMENTS = "lake.zarr/judgements/d"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> LakeProject:
    project = make_project(tmp_path_factory.mktemp("catalog") / "project")
    commit_embeddings(project.layout, rows=100)
    commit_judgements(project.layout, documents=100, queries=10)
    project.save("first", [EMBEDDINGS, JUDGEMENTS], tag="v1")
    commit_embeddings(project.layout, rows=120, seed=1)
    project.save("second", [EMBEDDINGS, JUDGEMENTS])
    return project


@pytest.fixture
def project(saved: LakeProject, tmp_path: Path) -> LakeProject:
    shutil.copytree(saved.root, tmp_path / "project")
    return LakeProject(tmp_path / "project")


def test_an_entry_says_what_where_and_since_when(project: LakeProject) -> None:
    embeddings, judgements = catalog(open_revision(str(project.root)))
    first, second = project.git("log", "--reverse", "--format=%h").split()
    assert embeddings.path == "embeddings/m/d"
    assert embeddings.dims == {"document": 120, "dimension": 16, "query": 10}
    assert embeddings.dtypes == ("float16",)
    assert embeddings.state == "local"
    assert embeddings.kept
    assert embeddings.size == sum(
        file.stat().st_size for file in (project.root / EMBEDDINGS).rglob("*") if file.is_file()
    )
    assert embeddings.stage == "embeddings-m-d"
    assert embeddings.params == {"setting": 1}
    assert (embeddings.commit, judgements.commit) == (second, first)


def test_an_earlier_revision_is_listed_from_the_cache(project: LakeProject) -> None:
    embeddings, _ = catalog(open_revision(str(project.root), "v1"))
    assert embeddings.dims["document"] == 100
    assert embeddings.state == "cached"
    assert embeddings.commit == project.git("rev-parse", "--short", "v1")


def test_state_follows_what_is_lost(project: LakeProject, tmp_path: Path) -> None:
    shutil.rmtree(project.root / EMBEDDINGS)
    assert [entry.state for entry in catalog(open_revision(str(project.root)))] == ["cached", "local"]
    shutil.move(project.root / ".dvc/cache", tmp_path / "remote")
    embeddings, _ = catalog(open_revision(str(project.root)))
    assert (embeddings.state, embeddings.dims) == ("missing", {})
    with (project.root / ".dvc/config").open("a") as config:
        config.write(f"    remote = there\n['remote \"there\"']\n    url = {tmp_path / 'remote'}\n")
    embeddings, _ = catalog(open_revision(str(project.root)))
    assert (embeddings.state, embeddings.dims["document"]) == ("remote", 120)


def test_what_is_not_committed_yet_has_no_commit(project: LakeProject) -> None:
    from dvc.repo import Repo

    commit_embeddings(project.layout, rows=130, seed=2)
    with Repo(str(project.root)) as repo:
        repo.commit(force=True)
    embeddings, _ = catalog(open_revision(str(project.root)))
    assert (embeddings.dims["document"], embeddings.commit) == (130, "")


def test_an_artifact_opens_by_its_name_with_or_without_the_lake(project: LakeProject) -> None:
    revision = open_revision(str(project.root))
    for name in ("embeddings/m/d", EMBEDDINGS, f"{EMBEDDINGS}/"):
        assert open_artifact(revision, name).size("document") == 120
    with pytest.raises(
        InvalidInput, match=r"'embeddings/m/other' is not in .*; `lake ls` lists them \(embeddings, "
    ):
        open_artifact(revision, "embeddings/m/other")


def test_lineage_goes_back_to_what_has_no_inputs(project: LakeProject) -> None:
    graph = yaml.safe_load((project.root / "dvc.yaml").read_text())
    graph["stages"]["embeddings-m-d"]["deps"] = [JUDGEMENTS]
    (project.root / "dvc.yaml").write_text(yaml.safe_dump(graph))
    made = lineage(open_revision(str(project.root)), "embeddings/m/d")
    assert (made.path, made.stage, made.params) == (EMBEDDINGS, "embeddings-m-d", {"setting": 1})
    assert [source.path for source in made.inputs] == [JUDGEMENTS]
    assert made.inputs[0].inputs == ()
