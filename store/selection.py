"""Selecting by label as xarray does it, also by the columns of ``configuration`` and the settings of a code.

A number or a text takes its dimension away, a list keeps it in the order asked for, a slice is a range of labels with
both ends. What is not there raises `InvalidInput` that names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from store.errors import BitlakeError, InvalidInput, MissingArtifact

CONFIGURATION = "configuration"
"""The dimension whose coordinates are the settings of a search, none of which identifies all of them."""

_LISTED = 20
"""Labels that a message lists at most."""


def labels_of(name: str, value: Any) -> list[Any] | None:
    """The labels of a list or an array in their order; None where ``value`` is a single one. Slices are refused."""
    if isinstance(value, slice):
        raise InvalidInput(f"sel: {name} is a slice; give one label or a list of labels")
    if np.ndim(value) == 0:
        return None
    found = np.asarray(value)
    if found.ndim > 1 or (found.dtype.kind == "b"):
        raise InvalidInput(f"sel: {name} is an array of {found.dtype}; give one label or a list of labels")
    return list(found.tolist())


def single(value: Any) -> Any:
    """A label as a plain Python value."""
    return np.asarray(value).item() if isinstance(value, np.generic | np.ndarray | xr.DataArray) else value


def select_cells(
    artifact: str, cells: Sequence[Mapping[str, str]], asked: Mapping[str, Any]
) -> list[dict[str, str]]:
    """The cells of the labels asked for, in the order of their lists.

    Raises `MissingArtifact` naming what no cell has.
    """
    order = {}
    for name, value in asked.items():
        several = labels_of(name, value)
        order[name] = [single(value)] if several is None else several
        texts = [label for label in order[name] if isinstance(label, str)]
        if len(set(texts)) < len(texts):
            raise InvalidInput(f"sel: {name} {value!r} names a label twice, which a tree cannot hold")
    found = [
        dict(cell)
        for choice in product(*order.values())
        for cell in cells
        if all(cell[name] == label for name, label in zip(order, choice, strict=True))
    ]
    for name, labels in order.items():
        absent = [label for label in labels if not any(cell[name] == label for cell in found)]
        if absent or not found:
            here = ", ".join("/".join(cell.values()) for cell in cells) or "nothing"
            raise MissingArtifact(f"{artifact}: no leaf for {dict(asked)}; here: {here}")
    return found


def select(data: xr.Dataset, labels: Mapping[str, Any]) -> xr.Dataset:
    """Select by dimensions, and by the columns of ``configuration``."""
    along = {name: value for name, value in labels.items() if name in data.dims}
    columns = {
        name: value
        for name, value in labels.items()
        if name in data.coords and data[name].dims == (CONFIGURATION,) and name not in data.dims
    }
    for name in labels:
        if name not in along and name not in columns:
            if name in data.coords:
                raise InvalidInput(
                    f"sel: {name!r} has no index here; use `data.set_xindex({name!r}).sel(…)` on what comes back"
                )
            raise InvalidInput(f"sel: {name!r} is neither a key nor a coordinate of this artifact")
    if columns:
        data = _select_configurations(data, columns)
    return _sel(data, along) if along else data


def _sel(data: xr.Dataset, labels: Mapping[str, Any]) -> xr.Dataset:
    """What xarray selects, or one line about the label that it cannot select by."""
    for name, value in labels.items():
        # xarray would notice when the values are read.
        if name not in data.xindexes and not isinstance(value, slice):
            at = np.asarray(value)
            if (
                at.dtype.kind in "iu"
                and at.size
                and not -data.sizes[name] <= at.min() <= at.max() < data.sizes[name]
            ):
                raise InvalidInput(f"sel: {name} {value!r} is not here; there are {_known(data, name)}")
    try:
        return data.sel(labels)
    except BitlakeError:
        raise
    except _REFUSED as error:
        for name, value in labels.items():
            try:
                data.sel({name: value})
            except _REFUSED:
                raise InvalidInput(
                    f"sel: {name} {value!r} is not here; there are {_known(data, name)}"
                ) from error
        raise InvalidInput(f"sel: {dict(labels)!r} cannot be selected together") from error


def _known(data: xr.Dataset, name: str) -> str:
    return _listed(data[name].values) if name in data.coords else f"the positions 0 to {data.sizes[name] - 1}"


_REFUSED = (KeyError, IndexError, TypeError, ValueError, NotImplementedError, pd.errors.InvalidIndexError)
"""What xarray and pandas raise for labels that they cannot select by."""


def _select_configurations(data: xr.Dataset, columns: Mapping[str, Any]) -> xr.Dataset:
    """The configurations whose columns have the labels.

    Several stay in the order of the lists, those of the first column first. Where every label is a single one and a
    single configuration has them all, the dimension goes.
    """
    values = {name: data[name].values for name in columns}
    chosen: NDArray[np.intp] = np.arange(data.sizes[CONFIGURATION])
    for name, value in reversed(list(columns.items())):
        column = values[name][chosen]
        if isinstance(value, slice):
            chosen = chosen[_within(name, value, column)]
            continue
        several = labels_of(name, value)
        wanted = [single(value)] if several is None else several
        for label in wanted:
            if not _equal(values[name], label).any():
                raise InvalidInput(f"sel: {name} {label!r} is not here; there are {_listed(values[name])}")
        parts = [chosen[_equal(column, label)] for label in wanted]
        chosen = np.concatenate(parts) if parts else chosen[:0]
    _refuse_unmet(columns, values, chosen)
    if len(chosen) == 1 and not any(isinstance(value, slice) or np.ndim(value) for value in columns.values()):
        return data.isel({CONFIGURATION: int(chosen[0])})
    return data.isel({CONFIGURATION: chosen})


def _refuse_unmet(
    columns: Mapping[str, Any], values: Mapping[str, NDArray[Any]], chosen: NDArray[np.intp]
) -> None:
    """Each label is here, but perhaps not together with the others."""
    for name, value in columns.items():
        if isinstance(value, slice):
            continue
        several = labels_of(name, value)
        for label in [single(value)] if several is None else several:
            if not _equal(values[name][chosen], label).any():
                others = ", ".join(f"{other} {columns[other]!r}" for other in columns if other != name)
                raise InvalidInput(f"sel: {name} {label!r} is not here together with {others}")


def _within(name: str, value: slice, column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a column of numbers lies between two labels, both included."""
    ends = [end for end in (value.start, value.stop) if end is not None]
    if value.step is not None or column.dtype.kind not in "iuf" or not all(map(_is_number, ends)):
        raise InvalidInput(f"sel: {name} {value!r} is no range of numbers; give a label or a list of labels")
    low = -np.inf if value.start is None else float(value.start)
    high = np.inf if value.stop is None else float(value.stop)
    return np.asarray((column >= low) & (column <= high))


def _equal(column: NDArray[Any], label: Any) -> NDArray[np.bool_]:
    """Where a column has a label: a number equals numbers alone, and a text texts."""
    if _is_number(label) if column.dtype.kind in "iuf" else isinstance(label, str):
        return np.asarray(column == label)
    return np.zeros(len(column), np.bool_)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.number) and not isinstance(value, bool)


def _listed(values: NDArray[Any]) -> str:
    known = list(dict.fromkeys(np.ravel(values).tolist()))
    if all(isinstance(label, int | float) for label in known):
        known.sort()
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"{', '.join(map(str, known[:_LISTED]))}{more}"


def select_code(groups: Mapping[str, xr.Dataset], labels: Mapping[str, Any]) -> xr.Dataset:
    """The codes of one codec and one length, and of the seeds asked for.

    ``groups`` by name carry their codec in their attributes. Codes of different codecs or lengths do not have one
    shape: a list of those is refused.
    """
    for name in ("codec", "bits"):
        if name in labels and (isinstance(labels[name], slice) or np.ndim(labels[name])):
            raise InvalidInput(
                f"sel: {name} {labels[name]!r}: codes of several have no common shape; give one label, "
                "or no codec for all of them as a DataTree"
            )
    codec, bits = single(labels["codec"]), _bits(labels.get("bits"))
    candidates = {name: data for name, data in groups.items() if data.attrs.get("codec", name) == codec}
    if not candidates:
        known = sorted({data.attrs.get("codec", name) for name, data in groups.items()})
        raise InvalidInput(f"sel: codec {codec!r} is not here; there are {', '.join(known)}")
    if codec in candidates and "bits" in candidates[codec].attrs:
        # Every shorter code is a prefix of the longest.
        data = candidates[codec]
        if bits is not None:
            stored = 8 * data.sizes["byte"]
            if bits % 8 or not 0 < bits <= stored:
                raise InvalidInput(f"sel: bits {bits} is not a multiple of 8 up to the {stored} stored")
            data = data.isel(byte=slice(0, bits // 8)).assign_attrs(bits=bits)
    else:
        lengths = {8 * data.sizes["byte"]: data for data in candidates.values()}
        if bits is None and len(lengths) == 1:
            bits = next(iter(lengths))
        if bits not in lengths:
            raise InvalidInput(
                f"sel: bits {'is not given' if bits is None else f'{bits} is not stored'} for {codec}; "
                f"there are {', '.join(map(str, sorted(lengths)))}"
            )
        data = lengths[bits]
    return select(data, {name: value for name, value in labels.items() if name not in ("codec", "bits")})


def _bits(value: Any) -> int | None:
    """A number of bits, also where it comes as a float or a NumPy number."""
    value = single(value)
    if value is None:
        return None
    if not _is_number(value) or not math.isfinite(value) or value != int(value):
        raise InvalidInput(f"sel: bits {value!r} is no whole number of bits")
    return int(value)
