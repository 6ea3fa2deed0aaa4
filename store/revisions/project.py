"""Where a project is, and what its Git says: it is found from any folder inside it, as Git finds a repository."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from store.errors import InvalidInput, MissingArtifact

DVC = ".dvc"
GRAPH = "dvc.yaml"


def project_root(folder: Path) -> Path:
    """The root of the project around ``folder``: the nearest above that has DVC's, else a ``dvc.yaml``.

    Raises `MissingArtifact` where there is none.
    """
    start = folder.expanduser()
    if not start.is_dir():
        raise MissingArtifact(f"{folder}: is not a folder; give that of a project, or its Git URL")
    inside = start.resolve()
    above = (inside, *inside.parents)
    # A folder inside the project may have a graph of its own, so DVC's folder comes first.
    for mark in (f"{DVC}/config", GRAPH):
        for at in above:
            if (at / mark).is_file():
                return at
    raise MissingArtifact(
        f"{folder}: is not a DVC project, nor is any folder above it; run inside one, or give its root"
    )


def located(url: str) -> str:
    """A project as it was named: ``~`` stands for the home folder, any folder of a project for its root, and all else,
    such as a Git URL, for itself."""
    folder = Path(url).expanduser()
    if not folder.is_dir():
        return str(folder) if url.startswith("~") else url
    try:
        return str(project_root(folder))
    except MissingArtifact:
        # A repository without a work tree, perhaps.
        return str(folder)


def git(root: Path, *arguments: str) -> str:
    """The output of a Git command at ``root``, without the last line break. Raises `InvalidInput` with Git's reason."""
    done = _run(root, *arguments)
    if done.returncode:
        text = done.stderr.decode("utf-8", "replace").strip()
        if "dubious ownership" in text:
            raise InvalidInput(
                f"{root}: belongs to another user, so Git does not read it; if you trust it, run "
                f"`git config --global --add safe.directory {root}`"
            )
        reason = text.partition("\n")[0] or f"exit code {done.returncode}"
        raise InvalidInput(f"git {arguments[0]}: {reason}; correct that, then run again")
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def git_succeeds(root: Path, *arguments: str) -> bool:
    """Whether a Git command at ``root`` ends with exit code 0."""
    return _run(root, *arguments).returncode == 0


def git_blob(root: Path, name: str) -> bytes | None:
    """A blob by whatever name Git takes for it (``HEAD:./file``, ``:./file``, a digest); None where there is none."""
    done = _run(root, "cat-file", "blob", name)
    return None if done.returncode else done.stdout


def git_blobs(root: Path, names: Sequence[str]) -> list[bytes | None]:
    """Blobs by name or digest, in order, in one call; None where there is none."""
    asked = "".join(f"{name}\n" for name in names).encode()
    answer = _run(root, "cat-file", "--batch", asked=asked).stdout
    found: list[bytes | None] = []
    at = 0
    for _ in names:
        end = answer.find(b"\n", at)
        head = answer[at:end].rsplit(b" ", 2)
        at = end + 1
        if len(head) == 3 and head[2].isdigit():
            size = int(head[2])
            found.append(answer[at : at + size] if head[1] == b"blob" else None)
            at += size + 1
        else:
            found.append(None)
    return found


def _run(root: Path, *arguments: str, asked: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], cwd=root, input=asked, capture_output=True, check=False)
    except FileNotFoundError:
        raise InvalidInput("git: is not on PATH; install it") from None
