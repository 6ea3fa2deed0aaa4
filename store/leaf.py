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


def dtype_name(array: zarr.Array[Any]) -> str:
    """The schema's word for the dtype of an array."""
    return "string" if array.dtype.kind in "TO" else array.dtype.name


@dataclass(frozen=True)
class Leaf:
    """A complete, checked leaf group, read lazily."""

    path: Path
    schema: Schema
    attributes: Mapping[str, Any]
    group: zarr.Group
    paths: tuple[str, ...]

    def array(self, path: str) -> zarr.Array[Any]:
        """The Zarr array at ``path``; nothing is read before it is indexed."""
        if path not in self.paths:
            raise MissingArtifact(f"{self.path}: has no array {path!r}, only {', '.join(self.paths)}")
        found = self.group[path]
        if not isinstance(found, zarr.Array):
            raise DamagedArtifact(
                f"{self.path}/{path}: is not an array; remove the artifact and make it again"
            )
        return found

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
        return dict(self.group[name].attrs)

    def size(self, dimension: str) -> int:
        """Length of a dimension, taken from the first array that has it."""
        for path in self.paths:
            dims = self.schema.field_of(path).dims
            if dimension in dims:
                return int(self.array(path).shape[dims.index(dimension)])
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
        paths = tuple(manifest["arrays"])
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        leaf = Leaf(path, schema, attributes, group, paths)
        shapes = {}
        for name in paths:
            array = leaf.array(name)
            schema.check_array(name, getattr(array.metadata, "dimension_names", None), dtype_name(array))
            shapes[name] = array.shape
            _check_chunks(path / name, array)
        schema.check_contents(paths, shapes)
        schema.check_attributes(attributes)
    except (KeyError, TypeError, AttributeError, ValueError, FileNotFoundError) as error:
        if isinstance(error, DamagedArtifact):
            raise
        raise DamagedArtifact(f"{path}: {error}; remove the artifact, then {remedy}") from error
    return leaf


def _check_chunks(folder: Path, array: zarr.Array[Any]) -> None:
    """Every file that the shape of an array promises must be there: Zarr reads a missing one as fill values."""
    unit = array.shards or array.chunks
    counts = [-(-size // step) for size, step in zip(array.shape, unit, strict=True)]
    for index in itertools.product(*(range(n) for n in counts)):
        key = array.metadata.encode_chunk_key(index)
        if not (folder / key).is_file():
            raise DamagedArtifact(
                f"{folder}: chunk {key} is missing; remove the artifact and make or pull it again"
            )
