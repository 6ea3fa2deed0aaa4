"""Groups of several leaves as one Dataset, one after the other along a dimension; nothing is read before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from store.errors import DamagedArtifact
from store.leaf.array import ArrayReader
from store.leaf.index import selected
from store.leaf.labelled import encoding, explicitly, lazy, paths_of, plain
from store.leaf.reading import Leaf
from store.leaf.schema import Field


@dataclass(frozen=True, eq=False)
class Group:
    """The arrays of one group of a leaf. ``renamed`` are given another name, and read as float64."""

    leaf: Leaf
    name: str
    renamed: Mapping[str, str]

    @property
    def paths(self) -> dict[str, str]:
        """Paths of the arrays by their names."""
        return {self.renamed.get(name, name): path for name, path in paths_of(self.leaf, self.name).items()}

    def field(self, name: str) -> Field:
        """What an array is declared to be."""
        return self.leaf.schema.field_of(self.paths[name])

    def dtype(self, name: str) -> np.dtype[Any]:
        """What an array is read as."""
        path = self.paths[name]
        if path.rpartition("/")[2] in self.renamed:
            return np.dtype(np.float64)
        return self.leaf.arrays[path].numpy_dtype()

    def size(self, dimension: str) -> int | None:
        """Length of a dimension, None where no array has it."""
        for name, path in self.paths.items():
            dims = self.field(name).dims
            if dimension in dims:
                return self.leaf.arrays[path].shape[dims.index(dimension)]
        return None


@dataclass(frozen=True)
class _Part:
    """``rows`` positions of the first dimension, of an array of a group, or of nothing where the group has none such.

    ``places`` say, for each further dimension, where its positions lie in this array, -1 for nowhere; None where they
    are the same.
    """

    reader: ArrayReader | None
    rows: int
    places: tuple[NDArray[np.intp] | None, ...] = ()


class StackedArray(BackendArray):
    """Arrays one after the other along their first dimension; what one of them lacks reads as missing."""

    def __init__(self, parts: Sequence[_Part], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.parts, self.shape, self.dtype = tuple(parts), shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return explicitly(key, self.shape, self._read)

    def _read(self, index: tuple[Any, ...]) -> NDArray[Any]:
        chosen = selected(index, self.shape)
        values = np.full([len(part) for part in chosen.along], _fill(self.dtype), self.dtype)
        first = 0
        rows = np.asarray(chosen.along[0])
        for part in self.parts:
            if part.reader is None:
                first += part.rows
                continue
            where = np.flatnonzero((rows >= first) & (rows < first + part.rows))
            into, taken = [where], [rows[where] - first]
            for along, places in zip(chosen.along[1:], part.places, strict=True):
                found = np.asarray(along, np.intp) if places is None else places[np.asarray(along, np.intp)]
                into.append(np.flatnonzero(found >= 0))
                taken.append(found[found >= 0])
            if all(len(positions) for positions in into):
                values[np.ix_(*into)] = part.reader.read(tuple(_slices(taken)))
            first += part.rows
        return values.reshape(chosen.shape)


def _slices(taken: Sequence[NDArray[np.intp]]) -> Iterator[slice | NDArray[np.intp]]:
    """The same positions, as slices where they are consecutive: those are read at once."""
    for positions in taken:
        first, last = int(positions[0]), int(positions[-1])
        consecutive = last - first + 1 == len(positions) and bool((np.diff(positions) == 1).all())
        yield slice(first, last + 1) if consecutive else positions


def _fill(dtype: np.dtype[Any]) -> Any:
    """What stands where there is no value: NaN, no row, false, no text."""
    return {"f": np.nan, "i": -1, "b": False, "T": ""}[dtype.kind]


def stacked(groups: Sequence[Group], dimension: str) -> xr.Dataset:
    """The arrays of ``groups`` along ``dimension``.

    Labels of other dimensions are joined. What a group lacks reads as NaN, as -1 for a row or a count, and as false.
    Raises `DamagedArtifact` where groups differ in a dimension without labels.
    """
    return lazy(partial(_stacked, groups, dimension))


def _stacked(groups: Sequence[Group], dimension: str) -> xr.Dataset:
    found, coordinates = {}, []
    labels: dict[str, NDArray[Any]] = {}
    declared = {name: group.field(name) for group in reversed(groups) for name in group.paths}
    for name, field in declared.items():
        if field.dims == (name,):
            labels[name] = _joined(groups, name)
    for name, field in declared.items():
        if field.dims[0] == dimension:
            found[name] = _variable(groups, name, field.dims, labels)
        elif name in labels:
            found[name] = xr.Variable(field.dims, labels[name], _described(groups, name))
        if field.coordinate and name in found:
            coordinates.append(name)
    return xr.Dataset(found, attrs=plain(_attributes(groups))).set_coords(coordinates)


def _joined(groups: Sequence[Group], name: str) -> NDArray[Any]:
    """Labels of a dimension that any group has: numbers in order of size, texts as they come."""
    every = [group.leaf.read(group.paths[name]) for group in groups if name in group.paths]
    together = list(dict.fromkeys(label for labels in every for label in labels.tolist()))
    if every[0].dtype.kind != "T" and any(len(labels) != len(together) for labels in every):
        together.sort()
    return np.array(together, every[0].dtype)


def _variable(
    groups: Sequence[Group], name: str, dims: tuple[str, ...], labels: Mapping[str, NDArray[Any]]
) -> xr.Variable:
    having = [group for group in groups if name in group.paths]
    sizes = [len(labels[dim]) if dim in labels else _size(groups, dim) for dim in dims[1:]]
    parts = []
    for group in groups:
        if name in group.paths:
            places = (_places(group, dim, labels[dim]) if dim in labels else None for dim in dims[1:])
            reader = group.leaf.reader(group.paths[name])
            parts.append(_Part(reader, reader.files.shape[0], tuple(places)))
        else:
            parts.append(_Part(None, _size([group], dims[0])))
    dtype = np.result_type(*(group.dtype(name) for group in having))
    shape = (sum(part.rows for part in parts), *sizes)
    data = indexing.LazilyIndexedArray(StackedArray(parts, shape, dtype))
    cut = [encoding(group.leaf, group.paths[name]) for group in having]
    same = cut[0] if all(other == cut[0] for other in cut) else {}
    return xr.Variable(dims, data, _described(groups, name), same)


def _places(group: Group, name: str, labels: NDArray[Any]) -> NDArray[np.intp]:
    own = {label: at for at, label in enumerate(group.leaf.read(group.paths[name]).tolist())}
    return np.array([own.get(label, -1) for label in labels.tolist()], np.intp)


def _size(groups: Sequence[Group], dim: str) -> int:
    """Length of a dimension without labels, in which all groups agree that have it."""
    sizes = {group: size for group in groups if (size := group.size(dim)) is not None}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} in {group.leaf.source.label}" for group, size in sizes.items())
        raise DamagedArtifact(f"{dim}: artifacts of one cell differ, {listed}; run `dvc repro`")
    return next(iter(sizes.values()))


def _described(groups: Sequence[Group], name: str) -> dict[str, str]:
    fields = [group.field(name) for group in groups if name in group.paths]
    return {
        "description": " or ".join(dict.fromkeys(field.description for field in fields)),
        "units": " or ".join(dict.fromkeys(field.units for field in fields)),
    }


def _attributes(groups: Sequence[Group]) -> dict[str, Any]:
    """Attributes that the leaves share; lists are joined, and what contradicts itself is left out."""
    together: dict[str, Any] = {}
    every = [group.leaf.attributes for group in groups]
    for name in dict.fromkeys(name for attributes in every for name in attributes):
        values = [attributes[name] for attributes in every if name in attributes]
        if all(isinstance(value, list) for value in values):
            together[name] = list(dict.fromkeys(entry for value in values for entry in value))
        elif all(value == values[0] for value in values):
            together[name] = values[0]
    return together
