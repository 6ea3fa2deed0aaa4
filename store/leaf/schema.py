"""What an artifact is: its arrays, their dimensions, dtypes, units and attributes, declared once.

A schema is checked when a leaf is written and again when it is opened. It also decides how an array is cut
into chunks and shards. Beyond its first chunk that rule looks at the size of a row only, never at the number of
rows, so that a growing array keeps its shard boundaries.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from store.errors import InvalidInput

CHUNK_BYTES = 512 * 1024
"""Upper bound of an inner chunk, in bytes before compression: what reading a few rows costs."""

SHARD_CHUNKS = 256
"""Inner chunks along the rows of one shard: with full chunks a shard is 128 MiB, the unit of transfer."""

MIN_CHUNK_ROWS = 64
"""Rows of the smallest inner chunk."""

EDGE_CHUNKS = 8
"""Inner chunks of an array too small for full ones: the padding of the last is at most about an eighth of it."""

STRING_ROWS = 65536
"""Rows per chunk of a text array; variable-length strings have no row size to go by."""

SCHEMA_VERSION = 3
"""Raised when a reader of today could misread what a writer of tomorrow stores."""


@dataclass(frozen=True)
class Field:
    """One array of a leaf.

    ``rows`` names the dimension along which the array grows and is sharded; ``split`` those of which every
    index gets chunks of its own (``seed``), so that one index can be read without the others.
    """

    dims: tuple[str, ...]
    dtype: str
    description: str
    units: str = "1"
    rows: str | None = None
    split: tuple[str, ...] = ()
    compress: bool = False
    coordinate: bool = False
    optional: bool = False

    def numpy_dtype(self) -> np.dtype[np.generic] | type[str]:
        """The dtype to create the Zarr array with."""
        return str if self.dtype == "string" else np.dtype(self.dtype)

    def chunks_and_shards(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Inner chunk and shard shape for an array of ``shape``; no shards where nothing grows."""
        whole = [
            1 if name in self.split else max(size, 1) for name, size in zip(self.dims, shape, strict=True)
        ]
        if self.rows is None:
            return tuple(whole), None
        axis = self.dims.index(self.rows)
        if self.dtype == "string":
            whole[axis] = STRING_ROWS
            return tuple(whole), None
        row_bytes = np.dtype(self.dtype).itemsize * int(
            np.prod([n for i, n in enumerate(whole) if i != axis])
        )
        # A power of two, so that chunks, shards and blocks of any array nest in one another. Chunks at the edge are
        # stored whole: an array of less than EDGE_CHUNKS chunks gets smaller ones, so that padding is a small part.
        full = 1 << max(0, (CHUNK_BYTES // row_bytes).bit_length() - 1)
        fitting = 1 << max(0, (shape[axis] // EDGE_CHUNKS - 1).bit_length())
        chunk_rows = min(full, max(MIN_CHUNK_ROWS, fitting))
        chunk = list(whole)
        chunk[axis] = chunk_rows
        shard = list(chunk)
        shard[axis] = chunk_rows * SHARD_CHUNKS
        return tuple(chunk), tuple(shard)


@dataclass(frozen=True)
class Schema:
    """An artifact: one leaf group per combination of ``keys``.

    Names of ``fields`` are paths below the leaf; a ``*`` stands for one group name (``*/documents``). What is not
    ``kept`` is neither cached nor pushed by DVC: it follows exactly, and fast, from artifacts that are.
    """

    artifact: str
    keys: tuple[str, ...]
    fields: Mapping[str, Field]
    attributes: Mapping[str, type | tuple[type, ...]] = field(default_factory=dict)
    kept: bool = True

    def field_of(self, path: str) -> Field:
        """The declaration of the array at ``path``."""
        if path in self.fields:
            return self.fields[path]
        for pattern, declared in self.fields.items():
            if (
                "*" in pattern
                and pattern.count("/") == path.count("/")
                and fnmatch.fnmatchcase(path, pattern)
            ):
                return declared
        raise InvalidInput(
            f"{self.artifact}/{path}: not an array of this artifact; its schema has {list(self.fields)}"
        )

    def check_array(self, path: str, dims: Sequence[str] | None, dtype: str) -> None:
        """Refuse an array whose dimension names or dtype are not the declared ones."""
        declared = self.field_of(path)
        if tuple(dims or ()) != declared.dims:
            raise InvalidInput(
                f"{self.artifact}/{path}: dimensions are {tuple(dims or ())}, expected {declared.dims}"
            )
        if dtype != declared.dtype:
            raise InvalidInput(f"{self.artifact}/{path}: dtype is {dtype}, expected {declared.dtype}")

    def check_contents(self, paths: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> None:
        """Refuse a leaf that lacks a required array, or whose arrays of one group disagree on a dimension."""
        for pattern, declared in self.fields.items():
            if not declared.optional and "*" not in pattern and pattern not in paths:
                raise InvalidInput(f"{self.artifact}: array {pattern!r} is missing")
        sizes: dict[tuple[str, str], tuple[int, str]] = {}
        for path in paths:
            group = path.rpartition("/")[0]
            for name, size in zip(self.field_of(path).dims, shapes[path], strict=True):
                known, where = sizes.setdefault((group, name), (size, path))
                if known != size:
                    raise InvalidInput(
                        f"{self.artifact}: dimension {name!r} is {size} in {path!r} but {known} in {where!r}"
                    )

    def check_attributes(self, attributes: Mapping[str, object]) -> None:
        """Refuse attributes that are missing, of another type, or not declared."""
        for name, kind in self.attributes.items():
            if name not in attributes:
                raise InvalidInput(f"{self.artifact}: attribute {name!r} is missing")
            if not isinstance(attributes[name], kind):
                raise InvalidInput(
                    f"{self.artifact}: attribute {name!r} is {type(attributes[name]).__name__}, expected {kind}"
                )
        for name in attributes:
            if name not in self.attributes:
                raise InvalidInput(f"{self.artifact}: attribute {name!r} is not in its schema")
