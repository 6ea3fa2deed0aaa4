"""From the bytes of an inner chunk to its values; what they may take in memory is known before any is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numcodecs import zstd  # type: ignore[import-untyped]
from numcodecs.vlen import VLenUTF8  # type: ignore[import-untyped]
from numpy.typing import NDArray

TEXT_BYTES = 1024
"""Bytes of UTF-8 that the texts of a chunk may have on average."""

_TEXT_FREE = 1 << 16
"""Bytes that they may have beyond: a few long ones are allowed."""

_COUNT_BYTES = 4
"""Bytes of the number of texts in a chunk, and of the length before each."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def most_text(rows: int) -> int:
    """Bytes of UTF-8 that ``rows`` texts of one chunk may have together."""
    return _TEXT_FREE + TEXT_BYTES * rows


def decoded(
    stored: memoryview, dtype: np.dtype[Any], shape: Sequence[int], held: int, *, compressed: bool
) -> NDArray[Any]:
    """The values of a chunk of ``shape``, ``held`` of which belong to the array and the others fill it up.

    stored: its bytes without their checksum. Raises `ValueError` where they are not those of such a chunk, before
    anything is allocated that such a chunk does not need; the caller translates other errors of codecs.
    """
    items = math.prod(shape)
    if dtype.kind == "T":
        most = _COUNT_BYTES * (items + 1) + most_text(held)
        content = _inflated(stored, 0, most) if compressed else stored
        # The codec allocates as many texts as the first number says.
        if len(content) > most or int.from_bytes(content[:_COUNT_BYTES], "little") != items:
            raise ValueError(f"the chunk does not hold {items} texts of at most {most} bytes")
        return np.asarray(VLenUTF8().decode(content), dtype).reshape(shape)
    size = items * dtype.itemsize
    content = _inflated(stored, size, size) if compressed else stored
    return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape)


def _inflated(stored: memoryview, least: int, most: int) -> bytes:
    """The content of a Zstandard frame that says it has between ``least`` and ``most`` bytes."""
    size = content_size(stored)
    if not least <= size <= most:
        raise ValueError(f"the chunk would expand to {size} bytes, expected at most {most}")
    content: bytes = zstd.decompress(stored)
    if len(content) != size:
        raise ValueError(f"the chunk expands to {len(content)} bytes, not to {size}")
    return content


def content_size(frame: memoryview) -> int:
    """Bytes that a Zstandard frame says it expands to (RFC 8878, 3.1.1.1); `ValueError` where it does not say."""
    if bytes(frame[:4]) != _ZSTD_MAGIC or len(frame) < 6:
        raise ValueError("the chunk is no frame of Zstandard")
    descriptor = frame[4]
    single = bool(descriptor & 0x20)
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    if not width or len(frame) < start + width:
        raise ValueError("the chunk does not say what it expands to")
    return int.from_bytes(frame[start : start + width], "little") + (256 if width == 2 else 0)
