"""Rows straight between arrays and chunk files, where the files hold them as they are in memory.

Zarr copies every chunk several times on its way. Where inner chunks are uncompressed and cut an array along its rows
alone, those copies are not needed: rows are written from, and read into, the caller's array, and each chunk's checksum
is computed while it is in the processor's cache. The bytes are the same, and any other layout is left to Zarr.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.leaf.arrays.shard import CHECKSUM_BYTES, sequential_index

_PLAIN = ({"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"})
_PLAIN_BYTES = ({"name": "bytes"}, {"name": "crc32c"})
"""Codecs of uncompressed chunks: of numbers, and of numbers that are single bytes."""


@dataclass(frozen=True)
class RowChunks:
    """How rows are laid out in chunk files whose uncompressed inner chunks cut an array along its rows alone.

    ``axis`` is the dimension of the rows; every index before it has chunk files of its own. ``row`` is the shape of a
    row, ``chunk_rows`` the number of rows of an inner chunk, and ``inner`` that of inner chunks in a shard, 0 where a
    chunk file is a single chunk without an index.
    """

    dtype: np.dtype[Any]
    axis: int
    row: tuple[int, ...]
    chunk_rows: int
    inner: int

    @property
    def file_rows(self) -> int:
        """Rows of a full chunk file."""
        return self.chunk_rows * max(self.inner, 1)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of an inner chunk without its checksum."""
        return self.chunk_rows * int(np.prod(self.row, dtype=np.int64)) * self.dtype.itemsize

    def file_name(self, *place: int) -> str:
        """Name of the chunk file at the indices before the rows and the number of the file along them."""
        return ".".join(["c", *map(str, place), *["0"] * len(self.row)])

    def index(self, chunks: int) -> bytes:
        """What follows the ``chunks`` inner chunks of a file: in a shard its index, else nothing."""
        return sequential_index(self.inner, self.chunk_bytes + CHECKSUM_BYTES, chunks) if self.inner else b""


def row_chunks(document: Mapping[str, Any]) -> RowChunks | None:
    """The layout that an array's ``zarr.json`` describes; None if rows are not stored as they are in memory."""
    shape, unit = document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"]
    chunk, codecs = unit, document["codecs"]
    sharded = codecs[0]["name"] == "sharding_indexed"
    if sharded:
        settings = codecs[0]["configuration"]
        if settings.get("index_location", "end") != "end" or tuple(settings["index_codecs"]) != _PLAIN:
            return None
        chunk, codecs = settings["chunk_shape"], settings["codecs"]
    if not shape or 0 in shape or tuple(codecs) not in (_PLAIN, _PLAIN_BYTES):
        return None
    cut = [at for at, (whole, part) in enumerate(zip(unit, chunk, strict=True)) if whole != part]
    cut = cut or [at for at, size in enumerate(chunk) if size > 1][:1] or [len(shape) - 1]
    axis = cut[0]
    if len(cut) > 1 or any(size != 1 for size in chunk[:axis]) or chunk[axis + 1 :] != shape[axis + 1 :]:
        return None
    dtype = np.dtype(document["data_type"]).newbyteorder("<")
    inner = unit[axis] // chunk[axis] if sharded else 0
    return RowChunks(dtype, axis, tuple(shape[axis + 1 :]), chunk[axis], inner)


def write_rows(path: Path, layout: RowChunks, parts: Sequence[NDArray[Any]], fill_value: Any) -> bytes:
    """Write a chunk file of consecutive rows that come in ``parts``, each (rows, *row).

    The bytes are those that Zarr would write: the last inner chunk is filled up, those after it are left out.
    Returns the checksums of the inner chunks, one after the other.
    Raises `InvalidInput` for rows of another shape and for more rows than the file can hold.
    """
    rows = sum(len(part) for part in parts)
    if rows > layout.file_rows:
        raise InvalidInput(f"{path}: got {rows} rows, a chunk file holds {layout.file_rows}")
    checksums: list[bytes] = []
    with open(path, "wb") as file:
        held = value = 0

        def put(rows: NDArray[Any]) -> None:
            nonlocal held, value
            data = rows.reshape(-1).view(np.uint8)
            file.write(data.data)
            held, value = held + len(rows), _extend(value, data)
            if held == layout.chunk_rows:
                checksums.append(_stored(value))
                file.write(checksums[-1])
                held = value = 0

        for part in parts:
            if part.shape[1:] != layout.row:
                raise InvalidInput(f"{path}: got rows of shape {part.shape[1:]}, expected {layout.row}")
            rest = np.asarray(part, layout.dtype, order="C")
            while len(rest):
                room = layout.chunk_rows - held
                put(rest[:room])
                rest = rest[room:]
        if held:
            put(np.full((layout.chunk_rows - held, *layout.row), fill_value, layout.dtype))
        file.write(layout.index(len(checksums)))
    return b"".join(checksums)


def read_rows(
    path: Path, layout: RowChunks, checksums: Sequence[bytes], first: int, out: NDArray[Any]
) -> bool:
    """Read the rows from ``first`` on of a chunk file into ``out``, (rows, *row) and contiguous.

    Returns whether every inner chunk that was read is the one that ``checksums`` lists. If not, the content of ``out``
    is meaningless, and the file is damaged or laid out in another order than that of `write_rows`.
    """
    last, stored = first + len(out), layout.chunk_bytes + CHECKSUM_BYTES
    row_bytes = layout.chunk_bytes // layout.chunk_rows
    target = out.reshape(-1).view(np.uint8)
    # The first and the last chunk are read whole, because a checksum covers a whole chunk.
    spare = np.empty(layout.chunk_bytes, np.uint8)
    # A commit may take the leaf away at any moment, so the file is opened and not asked for before.
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        return False
    with file:
        end = len(checksums) * stored
        index = layout.index(len(checksums))
        if os.fstat(file.fileno()).st_size != end + len(index):
            return False
        file.seek(end)
        if index and file.read() != index:
            return False
        file.seek(first // layout.chunk_rows * stored)
        for number in range(first // layout.chunk_rows, -(-last // layout.chunk_rows)):
            start = number * layout.chunk_rows
            begin, stop = max(first, start), min(last, start + layout.chunk_rows)
            before, after = (begin - start) * row_bytes, (start + layout.chunk_rows - stop) * row_bytes
            wanted = target[(begin - first) * row_bytes : (stop - first) * row_bytes]
            value = 0
            for piece in (spare[:before], wanted, spare[:after]) if before or after else (wanted,):
                if not _read_full(file, piece):
                    return False
                value = _extend(value, piece)
            if not _stored(value) == checksums[number] == file.read(CHECKSUM_BYTES):
                return False
    return True


def _read_full(file: FileIO, piece: NDArray[np.uint8]) -> bool:
    """Fill ``piece`` from the file; False where the file ends before."""
    while len(piece):
        count = file.readinto(piece.data)
        if not count:
            return False
        piece = piece[count:]
    return True


def _extend(so_far: int, data: NDArray[np.uint8]) -> int:
    """CRC-32C of what ``so_far`` is the checksum of, followed by ``data``."""
    return int(google_crc32c.extend(so_far, data))


def _stored(value: int) -> bytes:
    return value.to_bytes(CHECKSUM_BYTES, "little")


def read_spans(
    folder: Path, layout: RowChunks, checksums: Mapping[str, Sequence[bytes]], spans: Sequence[range]
) -> NDArray[Any] | None:
    """The values at consecutive positions along each dimension of the array in ``folder``.

    None where rows are not whole, and where `read_rows` finds something that is not as it should be.
    """
    trailing = spans[layout.axis + 1 :]
    if any(len(span) < size for span, size in zip(trailing, layout.row, strict=True)):
        return None
    values = np.empty([len(span) for span in spans], layout.dtype)
    leading, rows = spans[: layout.axis], spans[layout.axis]
    if values.size:
        for place in itertools.product(*leading):
            block = values[tuple(at - span.start for at, span in zip(place, leading, strict=True))]
            for number in range(rows.start // layout.file_rows, -(-rows.stop // layout.file_rows)):
                name, start = layout.file_name(*place, number), number * layout.file_rows
                first, last = max(rows.start, start), min(rows.stop, start + layout.file_rows)
                part = block[first - rows.start : last - rows.start]
                if not read_rows(folder / name, layout, checksums[name], first - start, part):
                    return None
    return values
