"""A project of Git and DVC around a small lake: leaves are committed directly, and DVC is told of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from store.layout import Layout

_ISOLATED = {
    "DVC_NO_ANALYTICS": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}


@dataclass(frozen=True)
class LakeProject:
    """A project at ``root`` whose stages are taken to have run as soon as their leaves are there."""

    root: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    def git(self, *arguments: str) -> str:
        """Run git; its output without the last line break."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env={**os.environ, **_ISOLATED},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def save(
        self, message: str, outputs: Sequence[str], *, not_kept: Sequence[str] = (), tag: str = ""
    ) -> None:
        """Record leaves (paths relative to the project) in dvc.lock and the cache, and commit that to Git."""
        from dvc.repo import Repo

        stages: dict[str, Any] = {}
        for path in [*outputs, *not_kept]:
            name = "-".join(path.split("/")[1:])
            out = {path: {"cache": False, "persist": True}} if path in not_kept else {path: {"persist": True}}
            stages[name] = {"cmd": "true", "params": ["setting"], "outs": [out]}
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        (self.root / "dvc.lock").unlink(missing_ok=True)
        with Repo(str(self.root)) as repo:
            repo.commit(force=True)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        if tag:
            self.git("tag", tag)


def make_project(root: Path) -> LakeProject:
    """An empty project; its DVC keeps all state beside it."""
    project = LakeProject(root)
    root.mkdir(parents=True)
    project.git("init", "--quiet", "--initial-branch", "main")
    (root / ".dvc").mkdir()
    settings = "[core]\n    analytics = false\n    autostage = false\n    site_cache_dir = ../../site\n"
    (root / ".dvc/config").write_text(settings)
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (root / ".gitignore").write_text(
        "/lake.zarr/*/*/*/\n/lake.zarr/judgements/*/\n/lake.zarr/results/\n/.bitlake/\n"
    )
    (root / "params.yaml").write_text("setting: 1\n")
    return project


def rot(path: Path) -> None:
    """Flip a bit and leave size, times and mode as they were, as a disk does: DVC's status does not see it."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.write(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
