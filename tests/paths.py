"""The project under test, and its files as they are committed."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def committed(path: str) -> bytes:
    """A file as Git's index has it: what the workspace has computed since is no concern of a test."""
    return subprocess.run(["git", "show", f":{path}"], cwd=ROOT, check=True, capture_output=True).stdout


def committed_files(folder: str) -> list[Path]:
    """Files below a folder that Git's index has, sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, check=True, capture_output=True
    ).stdout
    return [ROOT / name for name in sorted(listed.decode().split("\0")) if name]
