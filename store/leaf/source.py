"""Where the files of a leaf are read from: a folder of the workspace, or the objects of a revision."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from store.errors import DamagedArtifact, MissingArtifact


class Source(Protocol):
    """The files of one leaf by their POSIX names relative to it. Nothing is read before it is asked for."""

    @property
    def label(self) -> str:
        """What messages call the leaf."""

    @property
    def remedy(self) -> str:
        """What a reader should do when the leaf is not as it should be."""

    @cached_property
    def names(self) -> frozenset[str]:
        """Every file of the leaf; empty where there is no such leaf."""

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes ``start`` to ``end`` of a file, as a slice would take them: a negative start counts from the end.

        Raises `MissingArtifact` if there is no such file, and `DamagedArtifact` where it is too short.
        """


@dataclass(frozen=True)
class Folder:
    """A leaf in the workspace."""

    path: Path
    remedy: str = "run `dvc repro` or `dvc pull`"

    @property
    def label(self) -> str:
        return str(self.path)

    @cached_property
    def names(self) -> frozenset[str]:
        root = str(self.path)
        return frozenset(
            os.path.relpath(os.path.join(folder, file), root).replace(os.sep, "/")
            for folder, _, files in os.walk(root)
            for file in files
        )

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        try:
            with open(self.path / name, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                first, last, _ = slice(start, end).indices(size)
                if end is not None and end > size:
                    raise DamagedArtifact(
                        f"{self.path}: {name} ends after {size} bytes, expected {end}; "
                        f"remove the artifact, then {self.remedy}"
                    )
                file.seek(first)
                return file.read(max(0, last - first))
        except FileNotFoundError:
            raise MissingArtifact(f"{self.path}: {name} is not here; {self.remedy}") from None
