"""Where things live: the folders of a project and the path of every leaf of its lake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from store.errors import InvalidInput

CHECKOUT = Path(__file__).resolve().parents[1]
"""The checkout of the project whose code this process runs."""

LAKE = "lake.zarr"
CORPORA = "corpora"
PRIVATE = ".bitlake"
"""Git-ignored, on the same file system as the lake: half-written artifacts, parts of unfinished ones, prepared encoders
and the ledger."""

_LABEL = re.compile(r"[A-Za-z0-9_-]+")


def check_label(label: str, field: str) -> str:
    """Return ``label`` if it may name a model, a dataset or a codec; raise `InvalidInput` naming ``field`` if not."""
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise InvalidInput(
            f"{field}: {label!r} is not a label; use only letters, digits, '_' and '-' "
            "(dots break DVC's parameters, so write bge-large-en-v1-5)"
        )
    return label


def leaf_path(artifact: str, keys: Mapping[str, str]) -> str:
    """Path of a leaf relative to the project, in POSIX form: ``lake.zarr/<artifact>/<key>/…``."""
    return "/".join([LAKE, artifact, *(check_label(value, name) for name, value in keys.items())])


@dataclass(frozen=True)
class Layout:
    """The folders of one project."""

    root: Path

    @property
    def lake(self) -> Path:
        """The Zarr hierarchy."""
        return self.root / LAKE

    @property
    def staging(self) -> Path:
        """Where artifacts are written before they are renamed into place."""
        return self.root / PRIVATE / "staging"

    @property
    def prepared(self) -> Path:
        """Where fitted encoders are kept between runs."""
        return self.root / PRIVATE / "encoders"

    @property
    def unfinished(self) -> Path:
        """Where a stage that can be stopped keeps what it has finished, until its leaf is committed."""
        return self.root / PRIVATE / "unfinished"

    @property
    def ledger(self) -> Path:
        """Where the time and memory of stages are recorded."""
        return self.root / PRIVATE / "ledger"

    def leaf(self, artifact: str, keys: Mapping[str, str]) -> Path:
        """Folder of one leaf group."""
        return self.root / leaf_path(artifact, keys)

    def corpus(self, dataset: str) -> Path:
        """Folder with the texts of one dataset."""
        return self.root / CORPORA / check_label(dataset, "dataset")
