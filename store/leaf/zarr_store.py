"""A leaf as a Zarr store: read-only, and whatever is missing, damaged or in the wrong place raises.

Zarr takes a chunk that a store does not have for one that holds fill values, and a checksum only proves that a chunk is
intact, not that it is the right one. This store knows every chunk file of the leaf and every chunk's checksum.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from store.errors import DamagedArtifact
from store.leaf.shard import CHECKSUM_BYTES, chunk_ranges, index_bytes, is_sound, stored_checksums
from store.leaf.source import Source

if TYPE_CHECKING:
    from store.leaf.reading import ArrayFiles


class LeafStore(Store):
    """The files of ``source``, the arrays of which are described by ``arrays``."""

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, source: Source, arrays: Mapping[str, ArrayFiles]) -> None:
        super().__init__(read_only=True)
        self._source, self._arrays = source, arrays
        self._ranges: dict[str, NDArray[np.int64]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LeafStore) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return f"LeafStore({self._source.label!r})"

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if key not in self._source.names:
            return None
        # Reading waits for a disk or a server: a thread lets Zarr ask for several chunks at once.
        return prototype.buffer.from_bytes(await asyncio.to_thread(self.read, key, byte_range))

    def read(self, key: str, byte_range: ByteRequest | None = None) -> bytes:
        """Bytes of a file, proved against the manifest where they are of a chunk."""
        path, _, name = key.rpartition("/")
        files = self._arrays.get(path)
        if files is not None and name == "zarr.json":
            # As it was when the leaf was opened: of another shape, chunks that are not known would read as fill values.
            return files.document[slice(*_bounds(byte_range))]
        if files is None or name not in files.checksums:
            return self._source.read(key, *_bounds(byte_range))
        try:
            data = self._proved(key, files, files.checksums[name], byte_range)
        except DamagedArtifact:
            raise
        except ValueError as error:
            raise DamagedArtifact(
                f"{self._source.label}: {key} is damaged, or has changed since it was opened; "
                f"open it again, and if that fails remove the artifact, then {self._source.remedy}"
            ) from error
        return data

    def _proved(
        self, key: str, files: ArrayFiles, expected: Sequence[bytes], byte_range: ByteRequest | None
    ) -> bytes:
        """Bytes of a chunk file. Raises `ValueError` where they are not what the manifest says."""
        tail = index_bytes(files.inner) if files.inner else 0
        if byte_range == SuffixByteRequest(tail):
            data = self._source.read(key, -tail)
            self._know_ranges(key, data, len(expected))
            return data
        if isinstance(byte_range, RangeByteRequest) and tail:
            if key not in self._ranges:
                self._know_ranges(key, self._source.read(key, -tail), len(expected))
            wanted = (byte_range.start, byte_range.end)
            found = np.flatnonzero((self._ranges[key] == wanted).all(axis=1))
            if len(found):
                data = self._source.read(key, *wanted)
                if not is_sound(data) or data[-CHECKSUM_BYTES:] != expected[found[0]]:
                    raise ValueError("the inner chunk is another one")
                return data
        # Whatever else is asked for can only be proved as part of the whole file.
        data = self._source.read(key)
        if stored_checksums(data, files.inner) != list(expected):
            raise ValueError("the inner chunks are others")
        return data[slice(*_bounds(byte_range))]

    def _know_ranges(self, key: str, index: bytes, chunks: int) -> None:
        ranges = chunk_ranges(index)
        # An index that lacks a chunk would make it read as fill values.
        if len(ranges) != chunks:
            raise ValueError("the index lists other chunks")
        self._ranges[key] = ranges

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(
            await asyncio.gather(*(self.get(key, prototype, byte_range) for key, byte_range in key_ranges))
        )

    async def exists(self, key: str) -> bool:
        return key in self._source.names

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("leaves are written by store.leaf.commit")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("leaves are replaced by store.leaf.commit")

    async def list(self) -> AsyncIterator[str]:
        for name in sorted(self._source.names):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in sorted(self._source.names):
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        base = f"{prefix.rstrip('/')}/" if prefix else ""
        inside = (name.removeprefix(base) for name in self._source.names if name.startswith(base))
        for name in sorted({rest.partition("/")[0] for rest in inside}):
            yield name

    def __reduce__(self) -> tuple[type[LeafStore], tuple[Any, ...]]:
        return LeafStore, (self._source, self._arrays)


def _bounds(byte_range: ByteRequest | None) -> tuple[int | None, int | None]:
    """A byte range as the ends of a slice."""
    match byte_range:
        case RangeByteRequest(start, end):
            return start, end
        case OffsetByteRequest(offset):
            return offset, None
        case SuffixByteRequest(suffix):
            return -suffix, None
    return None, None
