"""The bytes of a chunk file: inner chunks, each followed by its checksum, and in a shard an index at the end.

The format is that of Zarr v3's ``sharding_indexed`` codec with ``crc32c`` on chunks and index. It is read here
directly because the leaf's contents list what a chunk's checksum *should* be, so that intact bytes in the wrong
place, such as two exchanged files, are noticed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import google_crc32c
import numpy as np
from numpy.typing import NDArray

CHECKSUM_BYTES = 4
_ENTRY_BYTES = 16
_ABSENT = np.iinfo(np.uint64).max


Bytes: TypeAlias = bytes | memoryview


def checksum(data: Bytes) -> bytes:
    """CRC-32C of ``data`` as it is stored, 4 bytes little-endian."""
    # The library takes bytes and arrays, no memoryview.
    return int(google_crc32c.value(np.frombuffer(data, np.uint8))).to_bytes(CHECKSUM_BYTES, "little")


def is_sound(data: Bytes) -> bool:
    """Whether ``data`` ends with the checksum of what precedes it."""
    view = memoryview(data)
    return len(view) >= CHECKSUM_BYTES and checksum(view[:-CHECKSUM_BYTES]) == bytes(view[-CHECKSUM_BYTES:])


def index_bytes(chunks: int) -> int:
    """Size in bytes of the index of a shard of so many inner chunks."""
    return _ENTRY_BYTES * chunks + CHECKSUM_BYTES


def sequential_index(chunks: int, stored: int, present: int) -> bytes:
    """Index of a shard of ``chunks`` inner chunks, the first ``present`` of which are in it one after the other.

    ``stored`` is the size of each in bytes, its checksum included.
    """
    entries = np.full((chunks, 2), _ABSENT, "<u8")
    entries[:present, 0] = np.arange(present, dtype=np.uint64) * np.uint64(stored)
    entries[:present, 1] = stored
    data = entries.tobytes()
    return data + checksum(data)


def chunk_ranges(index: Bytes) -> NDArray[np.int64]:
    """First and last byte (exclusive) of each inner chunk that is there, (chunks, 2) int64, in order of the index.

    Raises `ValueError` where the index is damaged.
    """
    if not is_sound(index):
        raise ValueError("the index of the shard is damaged")
    entries = np.frombuffer(index[:-CHECKSUM_BYTES], "<u8").reshape(-1, 2)
    entries = entries[entries[:, 0] != _ABSENT]
    return np.stack([entries[:, 0], entries.sum(axis=1)], axis=1).astype(np.int64)


def stored_checksums(data: Bytes, chunks: int) -> list[bytes]:
    """Checksums of the inner chunks of a whole chunk file, each checked; ``chunks`` is 0 if it is no shard.

    Raises `ValueError` naming what is damaged.
    """
    view = memoryview(data)
    if not chunks:
        parts = [view]
    else:
        tail = index_bytes(chunks)
        if len(view) < tail:
            raise ValueError("the shard is shorter than its index")
        parts = [view[first:last] for first, last in chunk_ranges(view[-tail:]).tolist()]
    for number, part in enumerate(parts):
        if not is_sound(part):
            raise ValueError(f"inner chunk {number} is damaged")
    return [bytes(part[-CHECKSUM_BYTES:]) for part in parts]


def listed_checksums(path: Path, chunks: int) -> bytes:
    """Checksums of the inner chunks of a chunk file, one after the other, as stored; nothing is checked."""
    # Unbuffered: four bytes of each chunk are wanted, not the eight kilobytes around them.
    with open(path, "rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        ends = [size]
        if chunks:
            file.seek(size - index_bytes(chunks))
            ends = chunk_ranges(file.read())[:, 1].tolist()
        found = []
        for end in ends:
            file.seek(end - CHECKSUM_BYTES)
            found.append(file.read(CHECKSUM_BYTES))
    return b"".join(found)
