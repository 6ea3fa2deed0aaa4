"""Committing a leaf: written beside the lake, verified, marked complete, then renamed into place.

A process killed anywhere leaves the earlier artifact as it was, and at most a folder in the staging area that
the next run removes. One process at a time writes a leaf, and a commit checks that the folder holds what it wrote,
all of it and nothing else. The same values give the same bytes: codecs are pinned, keys are sorted, nothing
depends on time, host or path.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from store.errors import InvalidInput, UnavailableResource
from store.layout import Layout
from store.leaf.arrays.decoding import most_text
from store.leaf.arrays.rows import RowChunks, row_chunks, write_rows
from store.leaf.arrays.shard import checksum, listed_checksums, stored_checksums
from store.leaf.origin import Origin
from store.leaf.ownership import claimed, staging_for
from store.leaf.reading import CONTENTS, open_leaf
from store.leaf.schema import SCHEMA_VERSION, Schema

ZSTD_LEVEL = 3


@dataclass
class LeafWriter:
    """A leaf being written. Arrays appear through `create` or `write`, attributes through `describe`.

    ``made_from`` says what arrays and attributes were made from, as `store.leaf.growth` will look for it; ``origin``
    what the leaf was made from. ``written`` has the checksums of every file that was written, by its name.
    """

    path: Path
    schema: Schema
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, list[str]] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    written: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def group(self) -> zarr.Group:
        """The leaf as a Zarr group."""
        return zarr.open_group(_Staged(self.path, self._wrote), mode="w", zarr_format=3)

    def create(self, path: str, shape: tuple[int, ...]) -> zarr.Array[Any]:
        """Create the array declared at ``path``; fill it by shard-aligned assignment along its rows."""
        declared = self.schema.field_of(path)
        chunks, shards = declared.chunks_and_shards(shape)
        self.shapes[path] = shape
        # Checksums on every chunk: zstd without one lets flipped bits through, and codes hardly compress.
        compressors: list[Any] = [ZstdCodec(level=ZSTD_LEVEL, checksum=True)] if declared.compress else []
        attributes: dict[str, Any] = {"description": declared.description, "units": declared.units}
        return self.group.create_array(
            path,
            shape=shape,
            dtype=declared.numpy_dtype(),
            chunks=chunks,
            shards=shards,
            filters=None,
            compressors=[*compressors, Crc32cCodec()],
            fill_value=_fill_value(declared.dtype),
            dimension_names=declared.dims,
            # c.0.0 instead of c/0/0: DVC walks every folder of every leaf each time it looks for changes.
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes=attributes,
            # A chunk that holds only fill values must exist, or its loss could not be distinguished from its content.
            config={"write_empty_chunks": True},
        )

    def write(self, path: str, values: ArrayLike) -> None:
        """Create an array and write all of it; values are never cast to another kind of number."""
        declared = self.schema.field_of(path)
        if declared.dtype == "string":
            data: Any = np.array(values, dtype=np.dtypes.StringDType())
            self._check_texts(path, data)
        else:
            data = np.asarray(values)
            if data.dtype != np.dtype(declared.dtype):
                raise InvalidInput(
                    f"{self.schema.artifact}/{path}: got {data.dtype}, expected {declared.dtype}"
                )
        if data.ndim != len(declared.dims):
            raise InvalidInput(
                f"{self.schema.artifact}/{path}: got shape {data.shape}, expected {declared.dims}"
            )
        array = self.create(path, data.shape)
        layout = self._row_chunks(array)
        if layout is None:
            array[...] = data
        else:
            for leading in np.ndindex(*data.shape[: layout.axis]):
                self.fill(array, [data[leading]], *leading)

    def _check_texts(self, path: str, texts: NDArray[Any]) -> None:
        """Refuse texts so long that a reader would refuse their chunk as a decompression bomb."""
        chunk, _ = self.schema.field_of(path).chunks_and_shards(texts.shape)
        rows, step = texts.reshape(-1), math.prod(chunk)
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            size = sum(len(text.encode()) for text in part)
            if size > most_text(len(part)):
                raise InvalidInput(
                    f"{self.schema.artifact}/{path}: {size} bytes of text in {len(part)} rows, "
                    f"at most {most_text(len(part))} can be stored; shorten them"
                )

    def fill(self, array: zarr.Array[Any], blocks: Iterable[NDArray[Any]], *leading: int) -> None:
        """Write consecutive blocks of rows until the array is full; ``leading`` fixes the indices before the rows.

        Whole shards are written: one written in parts would be read back and rewritten for each part.
        """
        shard_rows = (array.shards or array.chunks)[len(leading)]
        layout = self._row_chunks(array)
        waiting: list[NDArray[Any]] = []
        first = held = 0

        def flush() -> None:
            nonlocal first, held
            if layout is not None and layout.axis == len(leading):
                name = f"{array.path}/{layout.file_name(*leading, first // shard_rows)}"
                self.written[name] = write_rows(self.path / name, layout, waiting, array.fill_value)
            else:
                index: tuple[Any, ...] = (*leading, slice(first, first + held))
                array[index] = np.concatenate(waiting)
            first, held = first + held, 0
            waiting.clear()

        for block in blocks:
            rest = block
            while len(rest):
                part, rest = rest[: shard_rows - held], rest[shard_rows - held :]
                waiting.append(part)
                held += len(part)
                if held == shard_rows:
                    flush()
        if held:
            flush()
        if first != array.shape[len(leading)]:
            raise InvalidInput(f"{array.path}: got {first} rows, expected {array.shape[len(leading)]}")

    def _row_chunks(self, array: zarr.Array[Any]) -> RowChunks | None:
        return row_chunks(json.loads((self.path / array.path / "zarr.json").read_bytes()))

    def describe(self, **attributes: Any) -> None:
        """Add attributes to the leaf: plain JSON values that carry meaning."""
        self.attributes.update(attributes)

    def describe_group(self, name: str, **attributes: Any) -> None:
        """Add attributes to a group below the leaf."""
        self.group.require_group(name).attrs.update(dict(sorted(attributes.items())))

    def _wrote(self, name: str, content: bytes) -> None:
        """Note what Zarr writes."""
        path, _, file = name.rpartition("/")
        is_chunk = path in self.shapes and file != "zarr.json"
        known = stored_checksums(content, self._inner(path)) if is_chunk else [checksum(content)]
        self.written[name] = b"".join(known)

    def _inner(self, path: str) -> int:
        """Inner chunks in each shard of an array, 0 where it has none."""
        chunks, shards = self.schema.field_of(path).chunks_and_shards(self.shapes[path])
        return math.prod(whole // part for whole, part in zip(shards, chunks, strict=True)) if shards else 0

    def _finish(self, target: Path) -> None:
        self.schema.check_contents(list(self.shapes), self.shapes)
        self.schema.check_attributes(self.attributes)
        self._prove(target)
        contents = {
            "artifact": self.schema.artifact,
            "arrays": {path: self._checksums(path) for path in self.shapes},
            "documents": metadata_checksums(self.path),
            "made_from": self.made_from,
            **self.origin.as_json(),
            "version": SCHEMA_VERSION,
        }
        (self.path / "zarr.json").write_bytes(_group_metadata({**self.attributes, CONTENTS: contents}))
        open_leaf(self.path, self.schema)

    def _prove(self, target: Path) -> None:
        """Refuse to commit anything but what this writer wrote, and all of that."""
        there = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if not path.is_dir()}
        changed = sorted(there ^ self.written.keys()) or [
            name for name in sorted(there) if self._stored(name) != self.written[name]
        ]
        if changed:
            raise UnavailableResource(
                f"{target}: {changed[0]} is not what this run wrote: something else writes to {self.path}; "
                "stop it, then run again"
            )

    def _stored(self, name: str) -> bytes:
        """The checksums of a file as they are in it; empty if it has none."""
        path, _, file = name.rpartition("/")
        try:
            if path in self.shapes and file != "zarr.json":
                return listed_checksums(self.path / name, self._inner(path))
            return checksum((self.path / name).read_bytes())
        except (OSError, ValueError):
            return b""

    def _checksums(self, path: str) -> dict[str, str]:
        """For each chunk file of an array, the checksums of its inner chunks: what a reader will expect of it."""
        return {
            name.rpartition("/")[2]: known.hex()
            for name, known in self.written.items()
            if name.startswith(f"{path}/c.")
        }


def metadata_checksums(leaf: Path) -> dict[str, str]:
    """Checksum of the ``zarr.json`` of every array and group below a leaf, by its path."""
    return {
        found.parent.relative_to(leaf).as_posix(): checksum(found.read_bytes()).hex()
        for found in sorted(leaf.glob("*/**/zarr.json"))
    }


@contextmanager
def commit_leaf(layout: Layout, schema: Schema, keys: Mapping[str, str]) -> Iterator[LeafWriter]:
    """Write the leaf of ``schema`` with ``keys``; it appears, whole, when the block ends without an error."""
    if tuple(keys) != schema.keys:
        raise InvalidInput(f"{schema.artifact}: is kept by {schema.keys}, got {tuple(keys)}")
    target = layout.leaf(schema.artifact, keys)
    with staged_folder(layout, target) as folder:
        writer = LeafWriter(folder, schema)
        # Created here: otherwise what was written could not be distinguished from what was found.
        _ = writer.group
        yield writer
        writer._finish(target)
        _make_parent_groups(layout, target)


class _Staged(LocalStore):
    """A folder that nobody reads yet; ``wrote`` is called for every file.

    Files are written in turn: Zarr would leave others to threads that, where the first fails, still write while the
    folder is being removed, and say so on the standard error stream.
    """

    def __init__(self, root: Path, wrote: Callable[[str, bytes], None]) -> None:
        super().__init__(root)
        self._wrote = wrote

    async def set(self, key: str, value: Buffer) -> None:
        path, content = self.root / key, value.to_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._wrote(key, content)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not (self.root / key).exists():
            await self.set(key, value)


@contextmanager
def staged_folder(layout: Layout, target: Path) -> Iterator[Path]:
    """A new empty folder that replaces ``target`` when the block ends without an error.

    Where ``target`` is a symbolic link, or below one, what it points to is replaced. Raises `UnavailableResource` where
    another process is writing ``target``.
    """
    # Labels have no dots, so no two targets share a name.
    name = ".".join(Path(os.path.relpath(target, layout.root)).parts)
    with _work_for(layout, target, name) as (work, place):
        folder = work / "new"
        folder.mkdir()
        yield folder
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(folder, place)


@contextmanager
def _work_for(layout: Layout, target: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """A folder ``name`` of this process's own from which the place of ``target`` can be replaced, and that place."""
    place = target.resolve()
    with (
        _room_for(target),
        staging_for(layout, place) as staging,
        claimed(staging, name, target) as work,
    ):
        yield work, place


def replace_folder(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target``: readers find the old folder or the new one, never a mix."""
    if not target.exists():
        source.rename(target)
        return
    if not _exchange(source, target):
        # Without an atomic exchange the name is free for a moment; what is found is still never a mix.
        aside = source.with_name(source.name + ".old")
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
        source.rename(target)
        shutil.rmtree(aside)
        return
    shutil.rmtree(source)


def write_file(layout: Layout, target: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there; of several that write it at once, the last one stays."""
    with _work_for(layout, target, secrets.token_hex(16)) as (work, place):
        beside = work / "new"
        beside.write_bytes(content)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(place)


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    """A full disk is one line for the user, who can free space."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UnavailableResource(
            f"{target}: no space left to write it ({error.strerror}); free some, then run again"
        ) from error


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step (Linux ``renameat2``); False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)


def _make_parent_groups(layout: Layout, target: Path) -> None:
    """Groups above the leaves: without their metadata the lake would not open as one tree."""
    for folder in target.parents:
        if not (folder / "zarr.json").exists():
            write_file(layout, folder / "zarr.json", _group_metadata({}))
        if folder == layout.lake:
            break


def _group_metadata(attributes: Mapping[str, Any]) -> bytes:
    metadata = {"attributes": attributes, "node_type": "group", "zarr_format": 3}
    return (json.dumps(metadata, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _fill_value(dtype: str) -> Any:
    if dtype == "string":
        return ""
    return np.nan if np.dtype(dtype).kind == "f" else 0
