"""A leaf as labelled arrays: dimensions and coordinates as its schema declares them, values read when they are used.

The arrays are xarray's own extension point, a `BackendArray`, over the reader of the leaf: what xarray returns is
checked like everything else, and whole rows are read from the file into the caller's array.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from store.leaf.arrays.array import ArrayReader
from store.leaf.reading import Leaf


class LeafArray(BackendArray):
    """An array of a leaf, read when it is indexed.

    Numbers, slices and arrays of positions along each dimension are read as they are; pointwise indices are read as
    the rows and columns they are in, then picked.
    """

    def __init__(self, reader: ArrayReader) -> None:
        self.reader = reader
        self.shape = reader.files.shape
        self.dtype = reader.files.numpy_dtype()

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return explicitly(key, self.shape, self.reader.read)


def explicitly(
    key: indexing.ExplicitIndexer, shape: tuple[int, ...], read: Callable[[tuple[Any, ...]], NDArray[Any]]
) -> Any:
    """What ``read`` gives for an index of xarray; it takes any that goes along each dimension by itself.

    Only a pointwise index is taken apart. xarray's adapter would take others apart too: it fails on slices that go
    backwards and are empty, and copies once more for positions out of order.
    """
    if isinstance(key, indexing.VectorizedIndexer):
        return indexing.explicit_indexing_adapter(key, shape, indexing.IndexingSupport.OUTER, read)
    return read(key.tuple)


class _Built(BackendEntrypoint):
    """Opens what a function builds, so that `xarray.open_dataset` adds what it adds to every lazy Dataset."""

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: Callable[[], xr.Dataset],
        *,
        drop_variables: str | Iterable[str] | None = None,
    ) -> xr.Dataset:
        return filename_or_obj().drop_vars(drop_variables or ())


def lazy(build: Callable[[], xr.Dataset]) -> xr.Dataset:
    """The Dataset that ``build`` makes of lazy arrays: read once, when used, and copied before it is written to."""
    return xr.open_dataset(build, engine=_Built, chunks=None, cache=True)  # type: ignore[arg-type]


def datasets(leaf: Leaf) -> dict[str, xr.Dataset]:
    """The lazy Datasets of a leaf by group, ``""`` for its root."""
    return {group: lazy(partial(_group, leaf, group)) for group in leaf.groups() or ("",)}


def _group(leaf: Leaf, group: str) -> xr.Dataset:
    found = {name: variable(leaf, path) for name, path in paths_of(leaf, group).items()}
    coordinates = [
        name for name, path in paths_of(leaf, group).items() if leaf.schema.field_of(path).coordinate
    ]
    attributes = leaf.group_attributes(group) if group else leaf.attributes
    return xr.Dataset(found, attrs=plain(attributes)).set_coords(coordinates)


def paths_of(leaf: Leaf, group: str) -> dict[str, str]:
    """Paths of the arrays of a group by their names in it."""
    split = {path: path.rpartition("/") for path in leaf.paths}
    return {name: path for path, (parent, _, name) in split.items() if parent == group}


def variable(leaf: Leaf, path: str) -> xr.Variable:
    """The array at ``path`` with its dimensions, lazily."""
    declared = leaf.schema.field_of(path)
    data = indexing.LazilyIndexedArray(LeafArray(leaf.reader(path)))
    attributes = {"description": declared.description, "units": declared.units}
    return xr.Variable(declared.dims, data, attributes, encoding(leaf, path))


def encoding(leaf: Leaf, path: str) -> dict[str, Any]:
    """How an array is cut on disk, and how other formats are to store it."""
    files, declared = leaf.arrays[path], leaf.schema.field_of(path)
    found: dict[str, Any] = {
        "chunks": files.chunk,
        "preferred_chunks": dict(zip(declared.dims, files.chunk, strict=True)),
        "shards": files.shards,
    }
    if declared.dtype == "float16":
        # NetCDF has no number of two bytes; in four it is the same one.
        found["dtype"] = np.dtype(np.float32)
    return found


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as every file format can hold them.

    Labels in a list are joined by spaces, as CF does for ``flag_meanings``; a boolean is 1 or 0; everything else
    that is nested becomes JSON text.
    """
    return {name: _plain(value) for name, value in attributes.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return " ".join(value)
    if isinstance(value, list) and all(type(entry) in (int, float) for entry in value):
        return value
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
