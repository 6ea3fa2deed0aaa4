"""`lake verify`: faults are lines, and the exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from store.revisions.verification import verify
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import add_remote, environment
from tests.store.small_studies import EMBEDDINGS, NEIGHBOURS, make_study


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield make_study(tmp_path_factory.mktemp("study") / "project", tag="v1")


def lake(project: LakeProject, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", "--repo", str(project.root), *arguments])


def test_a_sound_lake_is_one_line_and_exit_code_0(project: LakeProject) -> None:
    done = lake(project)
    assert done.exit_code == 0
    checked = verify(str(project.root)).checked
    assert done.stdout == (
        f"checked 5 artifacts, {checked['files']} files, {checked['chunks']} chunks, "
        f"{checked['bytes'] / 1000:.1f} kB: 0 faults, 0 warnings\n"
    )


def test_each_fault_is_a_line_and_the_exit_code_is_1(project: LakeProject) -> None:
    chunk = project.root / EMBEDDINGS / "documents/c.0.0"
    before = chunk.read_bytes()
    try:
        chunk.unlink()
        text, as_json = lake(project), lake(project, "--json")
    finally:
        chunk.write_bytes(before)
    assert (text.exit_code, as_json.exit_code) == (1, 1)
    fault, summary = text.stdout.splitlines()
    remedy = f"remove {EMBEDDINGS}, then run `dvc pull {EMBEDDINGS}`"
    assert fault == f"fault: {EMBEDDINGS}/documents/c.0.0: is missing; {remedy}"
    assert summary.endswith("1 faults, 0 warnings")
    content = json.loads(as_json.stdout)
    assert content["faults"] == [
        {"artifact": EMBEDDINGS, "file": "documents/c.0.0", "problem": "is missing", "remedy": remedy}
    ]
    assert (content["warnings"], content["notes"], content["checked"]["artifacts"]) == ([], [], 5)


def test_warnings_and_notes_do_not_fail(project: LakeProject, tmp_path: Path) -> None:
    shutil.copytree(project.root, tmp_path / "copy")
    copy = LakeProject(tmp_path / "copy")
    shutil.rmtree(copy.root / NEIGHBOURS)
    shutil.copytree(copy.root / EMBEDDINGS, copy.root / "lake.zarr/embeddings/left/over")
    done = lake(copy)
    assert done.exit_code == 0
    warning, note, summary = done.stdout.splitlines()
    assert warning.startswith(
        "warning: lake.zarr/embeddings/left/over: no stage of dvc.yaml makes it; it belongs to no"
    )
    assert note == f"note: {NEIGHBOURS}: is not here and is not pulled; `dvc repro` computes it"
    assert summary.endswith("0 faults, 1 warnings")


def test_a_revision_and_a_remote_can_be_named(project: LakeProject, tmp_path: Path) -> None:
    assert lake(project, "--rev", "v1").exit_code == 0
    add_remote(project, "empty", url=str(tmp_path))
    done = lake(project, "--rev", "v1", "--remote", "empty")
    assert done.exit_code == 1
    faults = [line for line in done.stdout.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 4
    assert all(
        "its list of files: object" in fault and "is not in remote 'empty'" in fault for fault in faults
    )
