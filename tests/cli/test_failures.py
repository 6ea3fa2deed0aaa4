"""Whatever goes wrong in any command of `lake` is one line and an exit code, and never a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import failures
from cli.output import json_text
from store.errors import InvalidInput
from tests.paths import ROOT
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import environment
from tests.store.small_studies import make_study

COMMANDS = {
    "ls": [],
    "show": ["embeddings/m/d"],
    "verify": [],
    "verify --repair": [],
    "diff": ["HEAD"],
    "pull": [],
    "publish": [],
    "gc": [],
    "budget": [],
    "study use": ["default"],
    "study status": [],
}
BINARY = "from cli.main import main; main()"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    with environment(tmp_path_factory.mktemp("environment")):
        made = make_study(tmp_path_factory.mktemp("study") / "project", tag="v1")
        (made.root / "deep/er").mkdir(parents=True)
        yield made


def lake(
    command: str,
    *arguments: str,
    cwd: Path,
    stdout: Any = subprocess.PIPE,
    prelude: str = "",
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{prelude}\n{BINARY}", *command.split(), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding=variables.get("PYTHONIOENCODING", "utf-8"),
        check=False,
        timeout=120,
    )


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") or code == 130
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_outside_a_project(command: str, tmp_path: Path) -> None:
    line = one_line(lake(command, *COMMANDS[command], cwd=tmp_path))
    assert "is not a DVC project" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_does_not_exist_is_exit_code_2(command: str, tmp_path: Path) -> None:
    assert "--nonsense" in one_line(lake(command, "--nonsense", cwd=tmp_path), 2)


RAISED: dict[str, tuple[Callable[[], BaseException], int, str]] = {
    "ours": (lambda: InvalidInput("a: b;\nc"), 1, "error: a: b; c"),
    "not writable": (
        lambda: PermissionError(errno.EACCES, "Permission denied", "x"),
        1,
        "error: x: Permission denied",
    ),
    "disk full": (
        lambda: OSError(errno.ENOSPC, "No space left on device"),
        1,
        "error: No space left on device; make",
    ),
    "memory": (MemoryError, 1, "error: there is not enough memory; close other programs"),
    "interrupted": (KeyboardInterrupt, 130, "interrupted"),
    "recursion": (lambda: RecursionError("too deep"), 1, "error: RecursionError: too deep; this is a fault"),
    "pipe": (lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    "a bug": (lambda: KeyError("x"), 1, "error: KeyError: 'x'; this is a fault of Bitlake: report it"),
    "secret": (lambda: OSError("no https://me:pass@host/x?sig=1"), 1, "error: no https://…@host/x?…; see"),
    "another owner": (
        lambda: ValueError("fatal: detected dubious ownership in repository"),
        1,
        "error: the repository belongs to another user",
    ),
}


@pytest.mark.parametrize("kind", RAISED)
def test_every_kind_of_error_is_a_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    raised, code, line = RAISED[kind]

    def command(**_: Any) -> None:
        raise raised()

    assert failures.run(command) == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert len(said.splitlines()) == bool(line)


@pytest.mark.parametrize("command", ["ls", "verify", "gc", "diff", "study status", "budget"])
def test_ctrl_c_is_exit_code_130_without_a_traceback(command: str, project: LakeProject) -> None:
    prelude = (
        "import os, signal, store.revisions.project as p, cli.options\n"
        "def stop(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "p.project_root = stop; p.located = stop"
    )
    done = lake(command, *COMMANDS[command], cwd=project.root, prelude=prelude)
    assert one_line(done, 130) == "interrupted"


@pytest.mark.parametrize("command", ["ls", "show", "verify", "diff", "gc"])
def test_a_full_disk_behind_the_output(command: str, project: LakeProject) -> None:
    with open("/dev/full", "w") as full:
        done = lake(command, *COMMANDS[command], cwd=project.root, stdout=full)
    assert "No space left on device" in one_line(done)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["ls", "show", "verify", "diff", "gc"])
def test_a_terminal_without_unicode(command: str, encoding: str, project: LakeProject) -> None:
    for more in ([], ["--json"]):
        done = lake(command, *COMMANDS[command], *more, cwd=project.root, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        if more:
            json.loads(done.stdout)


@pytest.mark.parametrize("command", ["ls", "show", "verify", "diff", "gc"])
def test_any_folder_of_the_project_will_do(command: str, project: LakeProject) -> None:
    here = lake(command, *COMMANDS[command], "--json", cwd=project.root)
    deep = lake(command, *COMMANDS[command], "--json", cwd=project.root / "deep/er")
    assert here.returncode == deep.returncode == 0
    assert json.loads(deep.stdout) == json.loads(here.stdout)


def test_a_tilde_in_repo_is_the_home_folder(project: LakeProject, tmp_path: Path) -> None:
    done = lake("ls", "--repo", "~/project/deep", "--json", cwd=tmp_path, HOME=str(project.root.parent))
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 5
    line = one_line(lake("ls", "--repo", "~/nothing", cwd=tmp_path, HOME=str(tmp_path)))
    assert f"{tmp_path}/nothing" in line


@pytest.mark.parametrize("command", ["ls", "show", "verify", "diff", "gc", "pull", "publish"])
def test_a_repository_of_another_owner(command: str, project: LakeProject) -> None:
    done = lake(command, *COMMANDS[command], cwd=project.root, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    if done.returncode:
        assert "another user" in one_line(done)
        assert "git config --global --add safe.directory" in done.stderr
    else:
        assert done.stderr == ""


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    prelude = f"import os, shutil; shutil.rmtree({str(folder)!r})"
    assert "the folder you are in may have been removed" in one_line(lake("gc", cwd=folder, prelude=prelude))


def test_numbers_that_json_does_not_have_are_null() -> None:
    import numpy as np

    content = {"a": [float("nan"), float("inf"), 1.5], "b": (np.float32("nan"), np.arange(2)), 3: None}
    assert json.loads(json_text(content)) == {"a": [None, None, 1.5], "b": [None, [0, 1]], "3": None}
