"""Parts of a leaf that a stopped run had finished: kept beside the lake until the leaf is committed.

A part is a file of its own, put in its place in one step. It says what it was made from and carries a digest of its
content, so a part of other inputs, or one damaged by a crash, is not used.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.layout import Layout
from store.leaf.commit import write_file


@dataclass(frozen=True)
class Part:
    """An array, and plain JSON values that belong to it."""

    values: NDArray[Any]
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Unfinished:
    """The parts of one leaf: ``name`` identifies it."""

    layout: Layout
    name: str

    @property
    def _folder(self) -> Path:
        return self.layout.unfinished / self.name

    def _file(self, part: str) -> Path:
        # Files are staged under their own names, which two leaves must not share.
        return self._folder / f"{self.name}--{part}"

    def read(self, part: str, origin: str) -> Part | None:
        """A part if it is kept, whole, and made from ``origin``."""
        try:
            header, _, content = self._file(part).read_bytes().partition(b"\n")
            known = json.loads(header)
            if known["origin"] != origin or known["sha256"] != hashlib.sha256(content).hexdigest():
                return None
            return Part(np.load(io.BytesIO(content), allow_pickle=False), known["notes"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, part: str, origin: str, values: NDArray[Any], **notes: Any) -> None:
        """Keep a part that was made from ``origin``."""
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        known = {
            "notes": notes,
            "origin": origin,
            "sha256": hashlib.sha256(content.getbuffer()).hexdigest(),
        }
        header = json.dumps(known, sort_keys=True).encode() + b"\n"
        write_file(self.layout, self._file(part), header + content.getvalue())

    def remove(self) -> None:
        """Forget every part."""
        shutil.rmtree(self._folder, ignore_errors=True)
