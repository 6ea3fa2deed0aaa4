"""DVC's cache as this project writes to it: objects are proved before they get their name."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import DamagedArtifact
from store.revisions.objects import md5_of

if TYPE_CHECKING:
    from dvc.repo import Repo

FOLDER = ".dir"
"""How the name of a list of files ends."""


def file_md5(path: Path) -> str:
    """The MD5 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Cache:
    """The objects of DVC's cache, by MD5."""

    folder: Path

    @classmethod
    def of(cls, repo: Repo) -> Cache:
        """The cache of a project."""
        return cls(Path(repo.cache.local.path))

    def path(self, oid: str) -> Path:
        """Where an object is, or would be."""
        return self.folder / oid[:2] / oid[2:]

    def is_damaged(self, oid: str) -> bool:
        """Whether an object is there with other content than its name says."""
        path = self.path(oid)
        return path.is_file() and file_md5(path) != oid.removesuffix(FOLDER)

    def add(self, oid: str, data: bytes) -> None:
        """Keep an object, in the place of a damaged one if there is one. Raises `DamagedArtifact` for other content."""
        if md5_of(data) != oid.removesuffix(FOLDER):
            raise DamagedArtifact(
                f"the cache: object {oid} would have other content (MD5 {md5_of(data)}); get it elsewhere"
            )
        path = self.path(oid)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}.new")
        beside.write_bytes(data)
        # As DVC does, against programs that write through a link.
        beside.chmod(0o444)
        beside.replace(path)


_TEMPORARY = re.compile(r".*\.[A-Za-z0-9_-]{22}\.tmp")


def left_behind(folder: Path) -> list[Path]:
    """Temporary files of DVC in a leaf: an interrupted ``dvc pull`` leaves them, and the next one refuses."""
    return sorted(
        path for path in folder.rglob("*.tmp") if _TEMPORARY.fullmatch(path.name) and path.is_file()
    )
