"""`lake study`: what it says and writes, for people and for programs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import main
from cli.main import app
from tests.paths import ROOT, committed
from tests.stages.checkouts import Checkout, check_out
from tests.store.revisions.remote_projects import environment


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The repository as a clone has it: parameters, graph, lock and the shipped remote; nothing is pulled."""
    project = check_out(tmp_path_factory.mktemp("clone"))
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "code.yaml"):
        (project.root / name).write_bytes(committed(name))
    shutil.copytree(ROOT / "remote", project.root / "remote")
    return project


@pytest.fixture
def project(clone: Checkout, tmp_path: Path) -> Iterator[Path]:
    """A copy; the working directory is its root."""
    root = Path(shutil.copytree(clone.root, tmp_path / "project"))
    with environment(tmp_path / "environment"), pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def lake(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["study", *arguments], catch_exceptions=False)


def test_use_writes_both_files_and_says_what_is_next(project: Path) -> None:
    done = lake("use", "scifact")
    assert (done.exit_code, done.stdout) == (0, "study scifact: 1 cells; run `dvc repro`\n")
    assert "name: scifact" in (project / "params.yaml").read_text()
    assert "lake.zarr/quality/all-MiniLM-L6-v2/scifact" in (project / "dvc.yaml").read_text()
    lake("use", "default")
    for name in ("params.yaml", "dvc.yaml"):
        assert (project / name).read_bytes() == committed(name)


def test_an_unknown_study_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lake", "study", "use", "scifcat"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: study: 'scifcat' is not one of default, full, nano, scifact, tier1, tier2, tier3, tiers "
        "(files of studies/)\n"
    )
    assert (project / "params.yaml").read_bytes() == committed("params.yaml")


def test_status_is_a_line_a_cell_and_a_column_an_experiment(project: Path) -> None:
    text = lake("status").stdout
    lines = text.splitlines()
    assert lines[0].rstrip() == "study default (l: in the workspace, c: in the cache, r: in the remote)"
    header = re.split(r" {2,}", lines[1].strip())
    assert header == [
        "cell",
        "E1 embed",
        "E2 binarize",
        "E3 quantize",
        "extend",
        "E4 exact",
        "E5 search-binary",
        "E6 search-quantized",
        "E7 geometry",
        "X2 predict",
        "quality",
        "search-further",
        "rescore",
        "quality-further",
    ]
    cells = [re.split(r" {2,}", line.strip()) for line in lines[2:11]]
    assert {len(cell) for cell in cells} == {len(header)}
    assert cells[0][0] == "all-MiniLM-L6-v2 × pydata-api"
    # What has been pushed is in the remote, whether or not the code has changed since.
    assert {cell[1].split()[-1] for cell in cells} == {"r"}
    assert re.search(r"^E8 correlate +the study +\w+", text, re.MULTILINE)


def test_status_of_another_study_writes_nothing(project: Path) -> None:
    found = json.loads(lake("status", "scifact", "--json").stdout)
    assert found["study"] == "scifact"
    steps = {step["name"]: step for step in found["steps"]}
    assert steps["embed@all-MiniLM-L6-v2-scifact"] == {
        "name": "embed@all-MiniLM-L6-v2-scifact",
        "stage": "embed",
        "keys": {"model": "all-MiniLM-L6-v2", "dataset": "scifact"},
        "state": "missing",
        "why": "never run",
        "where": [],
        "outs": ["lake.zarr/embeddings/all-MiniLM-L6-v2/scifact"],
        "experiment": "E1",
    }
    assert found["notes"] == []
    for name in ("params.yaml", "dvc.yaml"):
        assert (project / name).read_bytes() == committed(name)
