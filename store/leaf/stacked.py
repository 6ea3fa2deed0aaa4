"""Several leaves as one Dataset, one after the other along a dimension; nothing is read before it is used."""

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
from store.leaf.arrays.array import ArrayReader
from store.leaf.arrays.index import selected
from store.leaf.labelled import encoding, explicitly, lazy, plain
from store.leaf.reading import Leaf

RANK = "rank"
"""The dimension whose positions are its labels, the best first: a search that kept fewer has none at the rest."""


@dataclass(frozen=True)
class _Part:
    """``rows`` positions of the first dimension, of an array of a leaf, or of nothing where the leaf has none such.

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


def stacked(leaves: Sequence[Leaf], dimension: str) -> xr.Dataset:
    """The arrays of ``leaves``, which have no groups, along ``dimension``.

    Labels of other dimensions are joined. What a leaf lacks reads as NaN, as -1 for a row or a count, and as false.
    Raises `DamagedArtifact` where leaves differ in a dimension without labels.
    """
    return lazy(partial(_stacked, leaves, dimension))


def _stacked(leaves: Sequence[Leaf], dimension: str) -> xr.Dataset:
    found, coordinates = {}, []
    declared = {name: leaf.schema.field_of(name) for leaf in reversed(leaves) for name in leaf.paths}
    labels = {name: _joined(leaves, name) for name, field in declared.items() if field.dims == (name,)}
    for name, field in declared.items():
        if field.dims[0] == dimension:
            found[name] = _variable(leaves, name, field.dims, labels)
        elif name in labels:
            found[name] = xr.Variable(field.dims, labels[name], _described(leaves, name))
        if field.coordinate and name in found:
            coordinates.append(name)
    return xr.Dataset(found, attrs=plain(_attributes(leaves))).set_coords(coordinates)


def _joined(leaves: Sequence[Leaf], name: str) -> NDArray[Any]:
    """Labels of a dimension that any leaf has: numbers in order of size, texts as they come."""
    every = [leaf.read(name) for leaf in leaves if name in leaf.paths]
    together = list(dict.fromkeys(label for labels in every for label in labels.tolist()))
    if every[0].dtype.kind != "T" and any(len(labels) != len(together) for labels in every):
        together.sort()
    return np.array(together, every[0].dtype)


def _variable(
    leaves: Sequence[Leaf], name: str, dims: tuple[str, ...], labels: Mapping[str, NDArray[Any]]
) -> xr.Variable:
    having = [leaf for leaf in leaves if name in leaf.paths]
    labels = {dim: labels[dim] if dim in labels else np.arange(_size(having, dim)) for dim in dims[1:]}
    parts = []
    for leaf in leaves:
        if name in leaf.paths:
            reader = leaf.reader(name)
            places = tuple(_places(leaf, dim, along) for dim, along in labels.items())
            parts.append(_Part(reader, reader.files.shape[0], places))
        else:
            parts.append(_Part(None, leaf.size(dims[0])))
    dtype = np.result_type(*(leaf.arrays[name].numpy_dtype() for leaf in having))
    shape = (sum(part.rows for part in parts), *map(len, labels.values()))
    data = indexing.LazilyIndexedArray(StackedArray(parts, shape, dtype))
    cut = [encoding(leaf, name) for leaf in having]
    same = cut[0] if all(other == cut[0] for other in cut) else {}
    return xr.Variable(dims, data, _described(leaves, name), same)


def _places(leaf: Leaf, dim: str, labels: NDArray[Any]) -> NDArray[np.intp] | None:
    """Where the labels of a dimension lie in a leaf, -1 for nowhere; None where they are the leaf's own."""
    own = leaf.read(dim).tolist() if dim in leaf.paths else list(range(leaf.size(dim)))
    wanted = labels.tolist()
    if own == wanted:
        return None
    at = {label: position for position, label in enumerate(own)}
    return np.array([at.get(label, -1) for label in wanted], np.intp)


def _size(leaves: Sequence[Leaf], dim: str) -> int:
    """Length of a dimension without labels, in which all leaves agree; the most ranks that any of them has."""
    sizes = {leaf.source.label: leaf.size(dim) for leaf in leaves}
    if len(set(sizes.values())) > 1 and dim != RANK:
        listed = ", ".join(f"{size} in {label}" for label, size in sizes.items())
        raise DamagedArtifact(f"{dim}: artifacts of one cell differ, {listed}; run `dvc repro`")
    return max(sizes.values())


def _described(leaves: Sequence[Leaf], name: str) -> dict[str, str]:
    fields = [leaf.schema.field_of(name) for leaf in leaves if name in leaf.paths]
    return {
        "description": " or ".join(dict.fromkeys(field.description for field in fields)),
        "units": " or ".join(dict.fromkeys(field.units for field in fields)),
    }


def _attributes(leaves: Sequence[Leaf]) -> dict[str, Any]:
    """Attributes that the leaves share; lists are joined, and what contradicts itself is left out."""
    together: dict[str, Any] = {}
    every = [leaf.attributes for leaf in leaves]
    for name in dict.fromkeys(name for attributes in every for name in attributes):
        values = [attributes[name] for attributes in every if name in attributes]
        if all(isinstance(value, list) for value in values):
            together[name] = list(dict.fromkeys(entry for value in values for entry in value))
        elif all(value == values[0] for value in values):
            together[name] = values[0]
    return together
