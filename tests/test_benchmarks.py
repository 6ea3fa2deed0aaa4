"""The benchmark suites measure what they say; nothing here depends on how long anything takes."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from benchmarks import _machine, stages
from stages import params
from tests.stages.projects import make_project


def test_every_stage_but_embed_is_started_beside_the_floor(tmp_path: Path) -> None:
    make_project(tmp_path)
    commands = stages.start_commands(params.load(tmp_path))
    assert set(commands) == {stages.FLOOR, *params.stages()} - {"embed"}
    cell = ("--model", "lsa-32", "--dataset", "first")
    assert commands["quantize"] == (sys.executable, "-m", "stages", "quantize", *cell, "--check")
    assert commands["corpus"] == (sys.executable, "-m", "stages", "corpus", *cell[2:], "--check")
    assert commands["results"] == (sys.executable, "-m", "stages", "results", "--check")


def test_commands_take_turns_and_the_first_round_is_not_measured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = {
        name: (sys.executable, "-S", "-c", f"open({str(log)!r}, 'a').write({name!r})") for name in "ab"
    }
    seconds = stages.timed(commands, 2, tmp_path)
    assert log.read_text() == "ababab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    command = (sys.executable, "-S", "-c", "raise SystemExit('error: no leaf')")
    with pytest.raises(SystemExit, match="results: error: no leaf; compute the study first"):
        stages.timed({"results": command}, 1, tmp_path)


def test_a_study_that_is_not_computed_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path)
    assert stages.main(tmp_path) == 1
    assert capsys.readouterr().err == (
        "error: the study is not computed or not up to date; run `make repro` first\n"
    )


def test_figures_carry_what_they_were_measured_on(tmp_path: Path) -> None:
    target = _machine.write("suite", {"seconds": {"x": _machine.summary([1.0, 5.0, 2.0])}}, tmp_path)
    written = json.loads(target.read_text())
    assert written["seconds"]["x"] == {"median_s": 2.0, "max_s": 5.0, "repetitions": 3}
    assert written["machine"]["python"] == platform.python_version()
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["packages"].keys() == set(_machine.PACKAGES)
    assert written["machine"].keys() == {"cores", "memory_gib", "processor", "system", "python", "packages"}
