"""The leaves of a project's folder."""

from __future__ import annotations

from dataclasses import dataclass

from store.layout import Layout
from store.leaf.schema import Schema
from store.leaf.source import Folder, Source


@dataclass(frozen=True)
class Workspace:
    """The leaves in the project's folder."""

    layout: Layout

    def leaves(self, schema: Schema) -> list[str]:
        artifact = self.layout.lake / schema.artifact
        documents = artifact.glob("/".join(["*"] * len(schema.keys) + ["zarr.json"]))
        return sorted(document.parent.relative_to(self.layout.root).as_posix() for document in documents)

    def source(self, path: str) -> Source:
        return Folder(self.layout.root / path)
