"""Opening a leaf: everything in it is checked against its schema and its own list of contents."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import DamagedArtifact, InvalidInput, MissingArtifact
from store.layout import check_label
from store.leaf.arrays.array import ArrayFiles, ArrayReader
from store.leaf.arrays.rows import row_chunks
from store.leaf.arrays.shard import CHECKSUM_BYTES, checksum
from store.leaf.metadata import check_array, check_group
from store.leaf.origin import Origin
from store.leaf.schema import SCHEMA_VERSION, Schema
from store.leaf.source import Folder, Source

CONTENTS = "bitlake"
"""Attribute of a leaf's root group: schema name and version, its arrays with the checksums of their chunks, the
checksums of the metadata of arrays and groups, and what the leaf was made from."""

BLOCK_BYTES = 31 * 1024 * 1024
"""Upper bound of the blocks that `Leaf.blocks` yields, in bytes.

glibc returns blocks of 32 MiB and more to the system at once: every block would be paged in again, a third of its
reading time.
"""

LARGEST_CHUNK = 1 << 30
"""Bytes of an inner chunk above which a leaf is refused: reading a single number would decode as much."""

MOST_INNER_CHUNKS = 1 << 20
"""Inner chunks of a shard above which a leaf is refused: its index would be read for every number."""


@dataclass(frozen=True)
class Leaf:
    """A complete, checked leaf group, read lazily."""

    source: Source
    schema: Schema
    attributes: Mapping[str, Any]
    arrays: Mapping[str, ArrayFiles]
    _groups: Mapping[str, Mapping[str, Any]]
    origin: Origin

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the arrays below the leaf, sorted."""
        return tuple(self.arrays)

    @cached_property
    def identity(self) -> str:
        """Digest of everything that says what the leaf holds: attributes, metadata, and the checksum of every chunk.

        Two leaves of one identity hold the same values, wherever they are.
        """
        sha = hashlib.sha256(
            json.dumps([self.schema.artifact, dict(self.attributes)], sort_keys=True).encode()
        )
        for path, files in self.arrays.items():
            for content in (path.encode(), files.metadata, *itertools.chain(*files.checksums.values())):
                sha.update(len(content).to_bytes(8, "little"))
                sha.update(content)
        return sha.hexdigest()

    @cached_property
    def _readers(self) -> dict[str, ArrayReader]:
        return {path: ArrayReader(self.source, path, files) for path, files in self.arrays.items()}

    def reader(self, path: str) -> ArrayReader:
        """The array at ``path``, read when it is indexed."""
        self._files(path)
        return self._readers[path]

    def read(self, path: str, index: Any = ...) -> NDArray[Any]:
        """The values of an array, or of a part of it, as `ArrayReader.read` takes them.

        Consecutive whole rows of uncompressed arrays in the workspace are read straight from their files, everything
        else by chunks; both are checked in the same way.
        """
        return self.reader(path).read(index)

    def _files(self, path: str) -> ArrayFiles:
        if path not in self.arrays:
            raise MissingArtifact(f"{self.source.label}: has no array {path!r}, only {', '.join(self.paths)}")
        return self.arrays[path]

    def strings(self, path: str) -> list[str]:
        """The values of a one-dimensional text array."""
        return [str(value) for value in self.read(path)]

    def groups(self) -> tuple[str, ...]:
        """Names of the groups below the leaf, sorted."""
        return tuple(self._groups)

    def group_attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a group below the leaf."""
        return dict(self._groups[name])

    def size(self, dimension: str) -> int:
        """Length of a dimension, taken from the first array that has it."""
        for path, files in self.arrays.items():
            dims = self.schema.field_of(path).dims
            if dimension in dims:
                return files.shape[dims.index(dimension)]
        raise InvalidInput(f"{self.source.label}: no array has a dimension {dimension!r}")

    def blocks(
        self, path: str, *leading: int, rows: slice | None = None
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Consecutive rows of an array as ``(first_row, values)``, each block of at most `BLOCK_BYTES`.

        ``leading`` fixes the indices before the row dimension (for codes: the seed). ``rows`` are all, or those of a
        slice.
        """
        files, at = self._files(path), len(leading)
        chunk_rows = files.chunk[at]
        row_bytes = _item_bytes(files.dtype) * math.prod(files.shape[at + 1 :])
        step = max(1, BLOCK_BYTES // max(1, row_bytes * chunk_rows)) * chunk_rows
        start, stop, _ = (rows or slice(None)).indices(files.shape[at])
        for first in range(start, stop, step):
            yield first, self.read(path, (*leading, slice(first, min(first + step, stop))))

    def shard_rows(self, path: str, *leading: int) -> int:
        """Rows of a shard of an array, or of its chunks where it has no shards."""
        files, at = self._files(path), len(leading)
        return files.chunk[at] * max(1, files.inner)


def open_leaf(where: Path | Source, schema: Schema, keys: Mapping[str, str] | None = None) -> Leaf:
    """Open a leaf and check it against its schema, its list of arrays and the files that are there.

    ``keys`` are the labels of its path (model, dataset), which its attributes must repeat; without them its attributes
    are not compared.

    Raises `MissingArtifact` if there is none and `DamagedArtifact` if it is not what its schema says, or belongs to
    another cell; a missing chunk raises instead of reading as fill values. Only metadata is read, a few kilobytes.
    """
    if not isinstance(where, Path):
        return _of_place(_open(where, schema), keys)
    while True:
        place = _inode(where)
        try:
            leaf = _of_place(_open(Folder(where), schema), keys)
        except (DamagedArtifact, MissingArtifact):
            if _inode(where) == place:
                raise
        else:
            if _inode(where) == place:
                return leaf
        # A commit has replaced the leaf between two reads: what was read belongs to neither.


def _of_place(leaf: Leaf, keys: Mapping[str, str] | None) -> Leaf:
    """The leaf, if it is the one of ``keys``."""
    place = dict(keys or {})
    own = {name: leaf.attributes.get(name) for name in place}
    if own != place:
        raise DamagedArtifact(
            f"{leaf.source.label}: holds {leaf.schema.artifact} of {_named(own)}, expected those of {_named(place)}; "
            "remove it, run `git checkout dvc.lock`, then `dvc pull` (where DVC recorded it like that: "
            "`dvc repro --force --single-item` with the stage that makes it)"
        )
    return leaf


def _named(keys: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in keys.items())


def same_corpus(embeddings: Leaf, judgements: Leaf) -> None:
    """Refuse vectors and judgements whose rows belong to different texts, or to the same texts in another order.

    Raises `DamagedArtifact` naming both and the stage to run again.
    """
    one, other = (leaf.attributes["corpus_digest"] for leaf in (embeddings, judgements))
    if one != other:
        raise DamagedArtifact(
            f"{embeddings.source.label}: was made from corpus {one[:12]}, but {judgements.source.label} lists the ids "
            f"of corpus {other[:12]}; run `dvc repro` up to the stage embed of this cell (with `--force` if DVC "
            "finds nothing to do), or `dvc pull` both"
        )


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _open(source: Source, schema: Schema) -> Leaf:
    if "zarr.json" not in source.names:
        raise MissingArtifact(f"{source.label}: the artifact is not here; {source.remedy}")
    try:
        metadata = json.loads(source.read("zarr.json"))
        check_group("", metadata)
        attributes = dict(metadata["attributes"])
        contents = attributes.pop(CONTENTS)
        if contents["artifact"] != schema.artifact or contents["version"] != SCHEMA_VERSION:
            raise DamagedArtifact(
                f"{source.label}: holds {contents['artifact']!r} version {contents['version']}, "
                f"expected {schema.artifact!r} version {SCHEMA_VERSION}; {source.remedy}"
            )
        arrays = {
            path: _checked_array(source, schema, path, listed, contents["documents"])
            for path, listed in sorted(contents["arrays"].items())
        }
        groups = {
            group: _checked_group(source, group, contents["documents"])
            for group in sorted({path.rpartition("/")[0] for path in arrays} - {""})
        }
        schema.check_contents(list(arrays), {path: files.shape for path, files in arrays.items()})
        schema.check_attributes(attributes)
        origin = Origin.stated(contents, attributes)
    except DamagedArtifact:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedArtifact(
            f"{source.label}: {error}; remove the artifact, then {source.remedy}"
        ) from error
    return Leaf(source, schema, attributes, arrays, groups, origin)


def _metadata(source: Source, path: str, known: Mapping[str, str]) -> bytes:
    """The ``zarr.json`` of an array or group, if it is the one that was written: a shape decides what is read."""
    if f"{path}/zarr.json" not in source.names:
        raise InvalidInput(f"{path}: its zarr.json is missing")
    content = source.read(f"{path}/zarr.json")
    if checksum(content).hex() != known[path]:
        raise InvalidInput(f"{path}: its zarr.json is not the one that was written")
    return content


def _checked_group(source: Source, path: str, known: Mapping[str, str]) -> Mapping[str, Any]:
    metadata = json.loads(_metadata(source, path, known))
    check_group(path, metadata)
    return dict(metadata["attributes"])


def _checked_array(
    source: Source, schema: Schema, path: str, listed: Mapping[str, str], known: Mapping[str, str]
) -> ArrayFiles:
    """Check an array's metadata and the names of its files; nothing is allocated before they agree.

    The metadata is read as JSON: opening an array through Zarr costs some milliseconds, and a stage opens up to a
    hundred.
    """
    for part in path.split("/"):
        check_label(part, "array")
    content = _metadata(source, path, known)
    metadata = json.loads(content)
    schema.check_array(path, metadata.get("dimension_names"), metadata["data_type"])
    shape = _whole_numbers(path, "shape", metadata["shape"], least=0)
    # Where an array is sharded, the chunks of the grid are the shards.
    unit = _whole_numbers(
        path, "chunk_shape", metadata["chunk_grid"]["configuration"]["chunk_shape"], least=1
    )
    if len(shape) != len(unit) or len(shape) != len(schema.field_of(path).dims):
        raise InvalidInput(f"{path}: shape {shape} and chunks {unit} do not fit its dimensions")
    inner = 0
    codecs, chunk = metadata["codecs"], unit
    if codecs[0]["name"] == "sharding_indexed":
        settings = codecs[0]["configuration"]
        codecs = settings["codecs"]
        chunk = _whole_numbers(path, "inner chunk_shape", settings["chunk_shape"], least=1)
        if len(chunk) != len(unit) or any(whole % part for whole, part in zip(unit, chunk, strict=True)):
            raise InvalidInput(f"{path}: inner chunks {chunk} do not divide shards {unit}")
        inner = math.prod(whole // part for whole, part in zip(unit, chunk, strict=True))
    check_array(path, schema.field_of(path), metadata, shape, unit, chunk if inner else None)
    if math.prod(chunk) * _item_bytes(metadata["data_type"]) > LARGEST_CHUNK or inner > MOST_INNER_CHUNKS:
        raise InvalidInput(f"{path}: chunks {chunk} in shards {unit} are larger than any that Bitlake writes")
    grid = [-(-size // step) for size, step in zip(shape, unit, strict=True)]
    # Counted before the list is read, because a shape can promise more chunks than could ever be listed.
    if math.prod(grid) != len(listed):
        raise InvalidInput(
            f"{path}: shape {shape} takes {math.prod(grid)} chunk files, it lists {len(listed)}"
        )
    checksums = {}
    for key, digits in listed.items():
        place = [int(number) for number in key.split(".")[1:]]
        if key != ".".join(["c", *map(str, place)]) or not _inside(place, grid):
            raise InvalidInput(f"{path}: {key!r} is no chunk of shape {shape}")
        if f"{path}/{key}" not in source.names:
            raise InvalidInput(f"{path}: chunk {key} is missing")
        stored = bytes.fromhex(digits)
        held = [min(step, size - at * step) for size, step, at in zip(shape, unit, place, strict=True)]
        expected = math.prod(-(-length // part) for length, part in zip(held, chunk, strict=True))
        if len(stored) != CHECKSUM_BYTES * expected:
            raise InvalidInput(f"{path}: {key} lists {len(stored)} bytes of checksums for {expected} chunks")
        checksums[key] = tuple(
            stored[at : at + CHECKSUM_BYTES] for at in range(0, len(stored), CHECKSUM_BYTES)
        )
    compressed = any(codec["name"] == "zstd" for codec in codecs)
    rows = row_chunks(metadata)
    return ArrayFiles(shape, metadata["data_type"], unit, chunk, inner, compressed, checksums, rows, content)


def _whole_numbers(path: str, what: str, values: Any, least: int) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(value) is not int or value < least for value in values):
        raise InvalidInput(f"{path}: {what} is {values!r}, expected whole numbers of at least {least}")
    return tuple(values)


def _inside(place: list[int], grid: list[int]) -> bool:
    return len(place) == len(grid) and all(0 <= at < count for at, count in zip(place, grid, strict=True))


def _item_bytes(dtype: str) -> int:
    # Of a text, what NumPy keeps in the array itself.
    return 16 if dtype == "string" else np.dtype(dtype).itemsize
