"""Copies of the project in which the real `dvc` runs, with their own collections and no trace outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT

CODE = (
    "store",
    "analysis",
    "pipeline",
    "stages",
    "studies",
    "requirements",
    ".dvc",
    ".dvcignore",
    ".gitignore",
)


@dataclass(frozen=True)
class Checkout:
    """A project at ``root`` that reads its collections below ``data``."""

    root: Path
    data: Path
    threads: int = 1

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command at the root; `python` is this one, as it is for the commands in dvc.yaml."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "DVC_", "MAKE", "PYTHON"))
        }
        environment = inherited | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "BITLAKE_DATA": str(self.data),
            "DVC_NO_ANALYTICS": "1",
            # Nothing of the person's own settings, and no state beside the checkout.
            "DVC_SITE_CACHE_DIR": str(self.data.with_name("site")),
            "DVC_GLOBAL_CONFIG_DIR": str(self.data.with_name("config")),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.com",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.com",
            "OMP_NUM_THREADS": str(self.threads),
        }
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `dvc`."""
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def stages(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python -m stages`."""
        return self.run(sys.executable, "-m", "stages", *arguments, check=check)

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def copy(self, root: Path) -> Checkout:
        """The whole checkout once more, with its artifacts, its cache and its own collections."""
        shutil.copytree(self.root, root / "project")
        shutil.copytree(self.data, root / "data")
        return Checkout(root / "project", root / "data", self.threads)


def check_out(root: Path) -> Checkout:
    """The project's code at ``root / "project"``, as git sees it here; collections belong in ``root / "data"``."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *CODE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    project = Checkout(root / "project", root / "data")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project.root / name)
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    return project


def started(output: str) -> set[str]:
    """The stages that `dvc repro` or `dvc exp run` says it runs, beside `code`, which always does."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE)) - {"code"}
