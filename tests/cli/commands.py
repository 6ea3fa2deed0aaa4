"""Commands run as from a shell, in a copy of this process: what takes a second to import is there already."""

from __future__ import annotations

import ctypes
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import typer

from cli.main import app, main
from stages.__main__ import main as run_stage


def subcommands() -> list[str]:
    """Every subcommand of `lake`, those of its groups too."""

    def named(of: typer.Typer, before: str) -> list[str]:
        own = [f"{before}{found.name or found.callback.__name__}" for found in of.registered_commands]  # type: ignore[union-attr]
        return own + [
            name
            for group in of.registered_groups
            if group.typer_instance is not None
            for name in named(group.typer_instance, f"{before}{group.name} ")
        ]

    return named(app, "")


def run(
    *arguments: str,
    cwd: Path,
    scratch: Path,
    stdout: str = "",
    encoding: str = "utf-8",
    prepare: Callable[[], object] = lambda: None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """`lake` with ``arguments``, or `python -m stages` where the first is that; output goes to files in ``scratch``.

    ``stdout`` is written to instead where it is given; ``prepare`` is called first, in the copy.
    """
    out, err = scratch / "stdout", scratch / "stderr"
    out.write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            for descriptor, path in ((1, stdout or str(out)), (2, str(err))):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), descriptor)
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(open(at, "wb", closefd=False), encoding=encoding)  # noqa: SIM115
                for at in (1, 2)
            )
            os.environ.update(variables)
            os.chdir(cwd)
            prepare()
            code = _run(list(arguments))
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    texts = [path.read_text(encoding=encoding) for path in (out, err)]
    return subprocess.CompletedProcess(arguments, os.waitstatus_to_exitcode(status), *texts)


def _run(arguments: list[str]) -> int:
    if arguments[0] == "stages":
        return run_stage(arguments[1:])
    sys.argv = ["lake", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 98
    return 97


def lose_rights() -> None:
    """Be refused by a folder that nobody may write to, even as the administrator."""
    version_3_of_this_process = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None).capset(version_3_of_this_process, (ctypes.c_uint32 * 6)()) == 0


def clean(done: subprocess.CompletedProcess[str], *codes: int) -> str:
    """The one line of a command that failed, empty for one that did not; it ended with one of the codes."""
    assert "Traceback" not in done.stderr
    assert done.returncode in codes, done.stderr
    if done.returncode == 0:
        assert done.stderr == ""
        return ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") or done.returncode == 130
    return line
