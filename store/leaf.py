"""Opening a leaf: nothing is believed that its schema and its own list of contents do not confirm."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from store.errors import DamagedArtifact, InvalidInput, MissingArtifact
from store.schema import SCHEMA_VERSION, Schema

MANIFEST = "bitlake"
"""Attribute of a leaf's root group: schema name and version, completeness, and the list of its arrays."""

BLOCK_BYTES = 64 * 1024 * 1024
"""Upper bound of the blocks that `Leaf.blocks` yields, in bytes."""


@dataclass(frozen=True)
class Leaf:
    """A complete, checked leaf group, read lazily."""

    path: Path
    schema: Schema
    attributes: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the arrays below the leaf, sorted."""
        return tuple(self.shapes)

    def array(self, path: str) -> zarr.Array[Any]:
        """The Zarr array at ``path``; nothing is read before it is indexed."""
        if path not in self.paths:
            raise MissingArtifact(f"{self.path}: has no array {path!r}, only {', '.join(self.paths)}")
        return zarr.open_array(self.path / path, mode="r")

    def read(self, path: str, index: Any = ...) -> NDArray[Any]:
        """The values of an array, or of a part of it."""
        return np.asarray(self.array(path)[index])

    def strings(self, path: str) -> list[str]:
        """The values of a one-dimensional text array."""
        return [str(value) for value in self.read(path)]

    def groups(self) -> tuple[str, ...]:
        """Names of the groups below the leaf, sorted."""
        return tuple(sorted({path.partition("/")[0] for path in self.paths if "/" in path}))

    def group_attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a group below the leaf."""
        return dict(json.loads((self.path / name / "zarr.json").read_bytes())["attributes"])

    def size(self, dimension: str) -> int:
        """Length of a dimension, taken from the first array that has it."""
        for path, shape in self.shapes.items():
            dims = self.schema.field_of(path).dims
            if dimension in dims:
                return shape[dims.index(dimension)]
        raise InvalidInput(f"{self.path}: no array has a dimension {dimension!r}")

    def blocks(self, path: str, *leading: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Consecutive rows of an array as ``(first_row, values)``, each block of at most `BLOCK_BYTES`.

        ``leading`` fixes the indices before the row dimension (for codes: the seed).
        """
        array = self.array(path)
        rows = array.shape[len(leading)]
        chunk_rows = array.chunks[len(leading)]
        row_bytes = array.dtype.itemsize * int(np.prod(array.shape[len(leading) + 1 :]))
        step = max(1, BLOCK_BYTES // (row_bytes * chunk_rows)) * chunk_rows
        for first in range(0, rows, step):
            index: tuple[Any, ...] = (*leading, slice(first, min(first + step, rows)))
            yield first, np.asarray(array[index])


def open_leaf(path: Path, schema: Schema, *, remedy: str = "run `dvc repro` or `dvc pull`") -> Leaf:
    """Open a leaf and check it against its schema, its list of arrays and its files on disk.

    Raises `MissingArtifact` when there is none and `DamagedArtifact` when it is not what it says it is; a chunk
    that is not there raises instead of reading as fill values.
    """
    document = path / "zarr.json"
    if not document.is_file():
        raise MissingArtifact(f"{path}: the artifact is not here; {remedy}")
    try:
        attributes = dict(json.loads(document.read_bytes())["attributes"])
        manifest = attributes.pop(MANIFEST)
        if manifest["artifact"] != schema.artifact or manifest["version"] != SCHEMA_VERSION:
            raise DamagedArtifact(
                f"{path}: holds {manifest['artifact']!r} version {manifest['version']}, "
                f"expected {schema.artifact!r} version {SCHEMA_VERSION}; {remedy}"
            )
        shapes = {name: _check_array(path / name, schema, name) for name in manifest["arrays"]}
        schema.check_contents(list(shapes), shapes)
        schema.check_attributes(attributes)
    except (KeyError, TypeError, AttributeError, ValueError, FileNotFoundError) as error:
        if isinstance(error, DamagedArtifact):
            raise
        raise DamagedArtifact(f"{path}: {error}; remove the artifact, then {remedy}") from error
    return Leaf(path, schema, attributes, shapes)


def _check_array(folder: Path, schema: Schema, name: str) -> tuple[int, ...]:
    """Check an array's document and files; returns its shape.

    The document is read as JSON: opening an array through Zarr costs some milliseconds, and a stage opens up to a
    hundred. Every file that the shape promises must be there, because Zarr reads a missing one as fill values.
    """
    document = json.loads((folder / "zarr.json").read_bytes())
    shape = tuple(document["shape"])
    schema.check_array(name, document.get("dimension_names"), document["data_type"])
    # Where an array is sharded, the chunks of the grid are the shards.
    unit = document["chunk_grid"]["configuration"]["chunk_shape"]
    separator = document["chunk_key_encoding"]["configuration"]["separator"]
    for index in itertools.product(
        *(range(-(-size // step)) for size, step in zip(shape, unit, strict=True))
    ):
        key = separator.join(["c", *map(str, index)])
        if not (folder / key).is_file():
            raise DamagedArtifact(
                f"{folder}: chunk {key} is missing; remove the artifact and make or pull it again"
            )
    return shape
