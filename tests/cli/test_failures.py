"""Whatever goes wrong in any command of `lake`, or in a stage, is one line and an exit code, and never a traceback."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.output import json_text
from store import failures
from store.errors import InvalidInput
from tests.cli.commands import clean, lose_rights, run, subcommands
from tests.paths import ROOT
from tests.silent_servers import silent_server
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import add_remote, environment
from tests.store.revisions.test_silence import mute
from tests.store.small_studies import make_study

ARGUMENTS = {"show": ["embeddings/m/d"], "diff": ["HEAD"], "study use": ["default"]}
"""What a subcommand cannot do without."""

COMMANDS = [*subcommands(), "verify --repair"]
STAGES = [
    "stages graph",
    "stages graph --check",
    "stages corpus --dataset scipy-api --check",
    "stages results",
]
OF_STUDIES = ("budget", "study use", "study status", "stages")
"""Commands that read the parameters of a study."""

PRINTING = ("ls", "show", "verify", "diff", "gc", "budget", "study status")
JSON = ("ls", "show", "verify", "diff", "gc", "budget", "study status", "pull")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LakeProject, Path]]:
    """A lake that is computed, and a study that is not."""
    folder = tmp_path_factory.mktemp("projects")
    with environment(tmp_path_factory.mktemp("environment")):
        lake = make_study(folder / "lake", tag="v1")
        study = folder / "study"
        (study / ".dvc").mkdir(parents=True)
        shutil.copy(lake.root / ".dvc/config", study / ".dvc")
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(ROOT / name, study)
        shutil.copytree(ROOT / "studies", study / "studies")
        subprocess.run(["git", "init", "--quiet"], cwd=study, check=True)
        for root in (lake.root, study):
            (root / "deep/er").mkdir(parents=True)
        yield lake, study


@pytest.fixture
def at(projects: tuple[LakeProject, Path], tmp_path: Path) -> Callable[..., Any]:
    """Run a command in the project that it needs."""

    def command(words: str, *more: str, inside: str = ".", **options: Any) -> Any:
        lake, study = projects
        root = study if words.startswith(OF_STUDIES) else lake.root
        arguments = [*words.split(), *ARGUMENTS.get(words, []), *more]
        return run(*arguments, cwd=options.pop("cwd", root / inside), scratch=tmp_path, **options)

    return command


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_outside_a_project(command: str, at: Callable[..., Any], tmp_path: Path) -> None:
    line = clean(at(command, cwd=tmp_path), 1)
    assert "is not a DVC project" in line or "params.yaml: is not in" in line


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_an_option_that_does_not_exist_is_exit_code_2(command: str, at: Callable[..., Any]) -> None:
    assert "--nonsense" in clean(at(command, "--nonsense"), 2)


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_a_repository_of_another_owner(command: str, at: Callable[..., Any]) -> None:
    line = clean(at(command, GIT_TEST_ASSUME_DIFFERENT_OWNER="1"), 0, 1)
    assert not line or command.startswith("stages") or "git config --global --add safe.directory" in line


@pytest.fixture(scope="module")
def sealed(
    projects: tuple[LakeProject, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[bool, Path]]:
    """Copies of the projects to which nobody may write, by whether they are that of a study."""
    folder = tmp_path_factory.mktemp("sealed")
    copies = {
        of_study: Path(shutil.copytree(root, folder / root.name))
        for of_study, root in ((False, projects[0].root), (True, projects[1]))
    }
    subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
    yield copies
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_a_folder_that_may_not_be_written(
    command: str, at: Callable[..., Any], sealed: dict[bool, Path]
) -> None:
    done = at(command, cwd=sealed[command.startswith(OF_STUDIES)], prepare=lose_rights)
    line = clean(done, 0, 1)
    assert "fault of Bitlake" not in line
    assert line == "" or command not in ("ls", "show", "verify", "diff", "budget", "stages graph --check")


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_ctrl_c(command: str, at: Callable[..., Any]) -> None:
    """In the first call that looks for the project, or reads parameters."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def stop(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

        _replace(stop)

    assert clean(at(command, prepare=prepare), 130) == "interrupted"


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_too_little_memory(command: str, at: Callable[..., Any]) -> None:
    def take(*_: object) -> None:
        raise MemoryError

    line = clean(at(command, prepare=lambda: _replace(take)), 1)
    assert line == "error: there is not enough memory; close other programs, or run on a machine with more"


def _replace(function: Callable[..., Any]) -> None:
    import pipeline.params
    import pipeline.study
    import store.revisions.project
    import store.revisions.pulling
    import store.revisions.revision

    for module in (store.revisions.project, store.revisions.pulling, store.revisions.revision):
        for name in ("project_root", "located"):
            if hasattr(module, name):
                setattr(module, name, function)
    for module in (pipeline.params, pipeline.study):
        module.parse = function  # type: ignore[attr-defined]
    sys.modules["stages.__main__"].read_yaml = function  # type: ignore[attr-defined]


def test_memory_that_the_system_refuses(at: Callable[..., Any]) -> None:
    """Not a MemoryError that a test has made."""

    def prepare() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), used + (1 << 20)))

    done = at("verify", prepare=prepare)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_behind_the_output(command: str, at: Callable[..., Any]) -> None:
    assert "No space left on device" in clean(at(command, stdout="/dev/full"), 1)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_a_terminal_without_unicode(command: str, encoding: str, at: Callable[..., Any]) -> None:
    line = clean(at(command, encoding=encoding), 0, 1)
    assert "Unicode" not in line
    assert not line or command not in PRINTING


@pytest.mark.parametrize("command", JSON)
def test_json_for_a_terminal_without_unicode(command: str, at: Callable[..., Any]) -> None:
    done = at(command, "--json", encoding="ascii")
    if not clean(done, 0, 1):
        json.loads(done.stdout)


@pytest.mark.parametrize("command", PRINTING)
def test_any_folder_of_the_project_will_do(command: str, at: Callable[..., Any]) -> None:
    here, deep = at(command, "--json"), at(command, "--json", inside="deep/er")
    assert clean(here, 0) == clean(deep, 0)
    assert json.loads(deep.stdout) == json.loads(here.stdout)


def test_a_study_is_chosen_from_any_folder_of_the_project(
    at: Callable[..., Any], projects: tuple[LakeProject, Path]
) -> None:
    clean(at("study use", inside="deep/er"), 0)
    assert not (projects[1] / "deep/er/params.yaml").exists()


@pytest.mark.parametrize("command", ["ls", "show", "verify", "diff", "verify --repair"])
def test_a_tilde_in_repo_is_the_home_folder(
    command: str, at: Callable[..., Any], projects: tuple[LakeProject, Path], tmp_path: Path
) -> None:
    found = at(command, "--repo", "~/lake/deep", cwd=tmp_path, HOME=str(projects[0].root.parent))
    clean(found, 0)
    done = at(command, "--repo", "~/nothing", cwd=tmp_path, HOME=str(tmp_path))
    assert f"{tmp_path}/nothing" in clean(done, 1)


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES])
def test_a_working_directory_that_is_gone(command: str, at: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    line = clean(at(command, cwd=folder, prepare=lambda: shutil.rmtree(folder)), 1)
    assert "fault of Bitlake" not in line


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

    def command() -> int:
        raise raised()

    assert failures.run(command) == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert len(said.splitlines()) == bool(line)


def test_a_value_of_megabytes_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise InvalidInput(f"field: {'x' * 5_000_000} is wrong; mend it")

    assert failures.run(command) == 1
    said = capsys.readouterr().err
    assert len(said) < 1_100
    assert said.startswith("error: field: xxx")
    assert said.endswith("x is wrong; mend it\n")


def test_ctrl_c_ends_what_waits_for_a_remote(projects: tuple[LakeProject, Path], tmp_path: Path) -> None:
    copy = LakeProject(Path(shutil.copytree(projects[0].root, tmp_path / "copy")))
    shutil.rmtree(copy.root / ".dvc/cache")
    with silent_server(mute) as address:
        add_remote(copy, "slow", default=True, url=f"http://{address}/lake")
        process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import main; main()", "pull"],
            cwd=copy.root,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline().startswith("waiting for remote 'slow' (up to ")
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")
    assert time.monotonic() - started < 5


def test_numbers_that_json_does_not_have_are_null() -> None:
    import numpy as np

    content = {"a": [float("nan"), float("inf"), 1.5], "b": (np.float32("nan"), np.arange(2)), 3: None}
    assert json.loads(json_text(content)) == {"a": [None, None, 1.5], "b": [None, [0, 1]], "3": None}
