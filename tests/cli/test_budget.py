"""`lake budget`: the ledger beside the plan and the caps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.stages.projects import make_project, run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path)
    assert run(tmp_path, "corpus", "--dataset", "first") == 0
    assert run(tmp_path, "embed", "--model", "lsa-32", "--dataset", "first") == 0
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    return tmp_path


def lake(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["budget", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_line_an_experiment_and_a_cap(project: Path) -> None:
    lines = [line.split() for line in lake().splitlines()]
    rows = {words[0]: words for words in lines if words}
    assert rows["E1"][:5] == ["E1", "embed", "1", "0", "18–25"]
    assert rows["E4"][:4] == ["E4", "exact", "0", "0"]
    assert rows["other"][:2] == ["other", "corpus"]
    assert rows["core"] == ["core", "0", "65"]
    assert rows["all"] == ["all", "0", "150"]
    assert not (project / "report").exists()


def test_the_summary_is_written_where_it_is_asked_for(project: Path) -> None:
    printed = json.loads(lake("--json"))
    assert "wrote report/budget.json" in lake("--write")
    text = (project / "report/budget.json").read_text()
    written = json.loads(text)
    assert written == printed
    assert written["experiments"]["E1"]["runs"] == {"finished": 1, "failed": 0, "unfinished": 0}
    assert written["caps"]["exploratory"] == {"gpu_hours": 0.0, "cap": 5.0}
    # Nothing of the machine or of the time.
    assert str(project) not in text
    assert "started" not in text


def test_an_empty_ledger_is_a_table_of_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = json.loads(lake("--json"))
    assert {name: of["wall_hours"] for name, of in found["experiments"].items()} == dict.fromkeys(
        [*(f"E{n}" for n in range(1, 9)), *(f"X{n}" for n in range(1, 5)), "other"], 0
    )
