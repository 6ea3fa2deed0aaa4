"""The ``zarr.json`` of an array is exactly what Bitlake writes.

Zarr and xarray follow every word of it. An attribute ``scale_factor`` would scale the values, another byte order would
swap them, an unknown codec or key would fail in the middle of reading. So only what a commit writes is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from store.errors import InvalidInput
from store.leaf.schema import Field

_ATTRIBUTES = {"description", "units"}
_KEY_ENCODING = {"name": "default", "configuration": {"separator": "."}}
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_INDEX = [_LITTLE, {"name": "crc32c"}]


def check_array(
    path: str,
    declared: Field,
    metadata: Mapping[str, Any],
    shape: Sequence[int],
    unit: Sequence[int],
    chunk: Sequence[int] | None,
) -> None:
    """Refuse an array's metadata that a commit of ``declared`` could not have written.

    ``unit`` is the shape of a chunk file, ``chunk`` that of the inner chunks in it, None where it is no shard. Dtype
    and dimension names are not looked at. Raises `InvalidInput` naming the first entry that is another.
    """
    whole, _ = declared.chunks_and_shards(shape)
    for found in (unit, chunk or unit):
        # How many rows make a chunk may change from version to version; nothing else may.
        cut = [at for at, size in enumerate(whole) if found[at] != size]
        if [declared.dims[at] for at in cut] not in ([], [declared.rows]):
            names = ", ".join(repr(declared.dims[at]) for at in cut if declared.dims[at] != declared.rows)
            raise InvalidInput(
                f"{path}: dimension {names} is cut into chunks {list(found)} at shape {list(shape)}"
            )
    expected: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(unit)}},
        "chunk_key_encoding": _KEY_ENCODING,
        "fill_value": fill_value(declared.dtype),
        "storage_transformers": [],
    }
    for name, value in expected.items():
        # JSON has one true and one 1, Python takes them for equal.
        if metadata[name] != value or type(metadata[name]) is not type(value):
            raise InvalidInput(f"{path}: {name} is {metadata[name]!r}, expected {value!r}")
    codecs = metadata["codecs"]
    if chunk is not None:
        settings = codecs[0]["configuration"]
        rest = {name: value for name, value in settings.items() if name not in ("chunk_shape", "codecs")}
        if len(codecs) != 1 or rest != {"index_codecs": _INDEX, "index_location": "end"}:
            raise InvalidInput(f"{path}: its shards are not laid out as Bitlake does it")
        codecs = settings["codecs"]
    if not _are_codecs(codecs, declared):
        raise InvalidInput(
            f"{path}: codecs are {codecs!r}, which Bitlake does not write for {declared.dtype}"
        )
    attributes = metadata["attributes"]
    if attributes.keys() != _ATTRIBUTES or attributes["units"] != declared.units:
        raise InvalidInput(f"{path}: attributes are {attributes!r}, expected a description and the units")
    known = {*expected, "codecs", "attributes", "shape", "data_type", "dimension_names"}
    for name in metadata:
        if name not in known:
            raise InvalidInput(f"{path}: {name!r} is no entry that Bitlake writes")


def check_group(path: str, metadata: Mapping[str, Any]) -> None:
    """Refuse the metadata of a group, ``path`` "" for the leaf itself, that a commit could not have written."""
    attributes = metadata["attributes"]
    if metadata != {"attributes": attributes, "node_type": "group", "zarr_format": 3}:
        raise InvalidInput(f"{path or 'zarr.json'}: is not the metadata of a group of Zarr 3")
    # xarray would obey this one and turn variables into coordinates.
    if not isinstance(attributes, dict) or "coordinates" in attributes:
        raise InvalidInput(f"{path or 'zarr.json'}: its attributes are not what Bitlake writes")


def fill_value(dtype: str) -> Any:
    """The fill value of an array as its metadata has it. It is never read: every chunk is written."""
    if dtype == "string":
        return ""
    if dtype == "bool":
        return False
    return "NaN" if np.dtype(dtype).kind == "f" else 0


def _are_codecs(codecs: Sequence[Any], declared: Field) -> bool:
    """Whether ``codecs`` store an array as declared: its bytes, compressed where it says so, and a checksum."""
    if declared.dtype == "string":
        serializers = [{"name": "vlen-utf8", "configuration": {}}, {"name": "vlen-utf8"}]
    elif np.dtype(declared.dtype).itemsize == 1:
        serializers = [{"name": "bytes"}]
    else:
        serializers = [_LITTLE]
    first, *compressors, last = codecs
    return (
        first in serializers
        and last == {"name": "crc32c"}
        and len(compressors) == declared.compress
        and all(_is_zstd(codec) for codec in compressors)
    )


def _is_zstd(codec: Any) -> bool:
    settings = codec["configuration"]
    return (
        codec == {"name": "zstd", "configuration": settings}
        and settings.keys() == {"level", "checksum"}
        and type(settings["level"]) is int
        and 0 < settings["level"] <= 22
        and settings["checksum"] is True
    )
