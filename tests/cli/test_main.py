"""The command as a whole: quick to start, one line for what a person can correct."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

HEAVY = ("numpy", "zarr", "dvc", "xarray", "pandas", "fsspec", "yaml", "rich.table")


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    program = "from cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "120",
            "TERM": "dumb",
            # The shell is given, not looked for among the processes above this one.
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_starting_imports_nothing_heavy() -> None:
    program = f"import sys, cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("study", "ls", "show", "verify", "diff", "publish", "gc", "budget"):
        assert f" {name} " in done.stdout


def test_completion_is_offered() -> None:
    done = run("--show-completion", "bash")
    assert done.returncode == 0
    assert "COMP_WORDS" in done.stdout


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    done = run("ls", "--repo", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path}: is not a DVC project; give its root or its Git URL\n"
