"""`lake ls`, `lake show` and `lake diff`: what they print, for people and for programs."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.store.lakes import commit_embeddings, commit_judgements
from tests.store.revisions.lake_projects import LakeProject, make_project

OUTPUTS = ["lake.zarr/embeddings/m/d", "lake.zarr/judgements/d"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> LakeProject:
    made = make_project(tmp_path_factory.mktemp("cli") / "project")
    commit_embeddings(made.layout, rows=100)
    commit_judgements(made.layout, documents=100, queries=10)
    made.save("first", OUTPUTS, tag="v1")
    commit_embeddings(made.layout, rows=100, seed=3)
    made.save("second", OUTPUTS)
    return made


def lake(project: LakeProject, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--repo", str(project.root)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_ls_prints_a_line_an_artifact(project: LakeProject) -> None:
    lines = lake(project, "ls").splitlines()
    assert re.match(r".*: 2 artifacts, [\d.]+ kB kept", lines[0])
    assert lines[1].split() == ["artifact", "dims", "dtype", "size", "state", "stage", "params", "commit"]
    assert re.match(
        r"embeddings/m/d +document=100 dimension=16 query=10 +float16 +[\d.]+ kB +local"
        r" +embeddings-m-d +setting +[0-9a-f]{7}",
        lines[2],
    )
    assert len(lines) == 4


def test_ls_as_json(project: LakeProject) -> None:
    entries = json.loads(lake(project, "ls", "--json", "--rev", "v1"))
    assert [(entry["path"], entry["state"]) for entry in entries] == [
        ("embeddings/m/d", "cached"),
        ("judgements/d", "cached"),
    ]
    assert entries[0]["params"] == {"setting": 1}
    assert entries[0]["commit"] == project.git("rev-parse", "--short", "v1")


def test_show_prints_schema_attributes_and_lineage(project: LakeProject) -> None:
    text = lake(project, "show", "embeddings/m/d")
    assert re.search(
        r"documents +document=100 × dimension=16 +float16 +1 +64×16 +16384×16 +document vectors", text
    )
    assert re.search(r"encoder +\{'name': 'tiny'\}", text)
    assert re.search(r"lake.zarr/embeddings/m/d +\([0-9a-f]{8}, stage embeddings-m-d", text)
    content = json.loads(lake(project, "show", "embeddings/m/d", "--json"))
    assert content["attributes"]["model"] == "m"
    assert [array["array"] for array in content["arrays"]] == ["documents", "queries"]
    assert content["lineage"]["stage"] == "embeddings-m-d"


def test_diff_counts_changed_values(project: LakeProject) -> None:
    text = lake(project, "diff", "v1")
    assert re.search(r"embeddings/m/d +changed", text)
    assert re.search(r"  documents +\d+ of 1600 values +[\d.]+", text)
    assert "judgements" not in text
    assert "nothing differs" in lake(project, "diff", "HEAD")
    content = json.loads(lake(project, "diff", "v1", "HEAD", "--json"))
    assert content["changed"][0]["arrays"][0]["path"] == "documents"
    assert content["added"] == []
