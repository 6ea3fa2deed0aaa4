"""The bytes of chunk files: what Zarr writes is read correctly, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from store.leaf.arrays.shard import (
    checksum,
    chunk_ranges,
    index_bytes,
    is_sound,
    listed_checksums,
    sequential_index,
    stored_checksums,
)

CHECK_VALUE = bytes.fromhex("839206e3")
"""CRC-32C of ``123456789`` as the catalogues of checksums give it, little-endian."""


def shard_file(folder: Path, *, rows: int = 40, compressed: bool = False) -> Path:
    """A shard as Zarr writes it: up to 4 inner chunks of 16 rows of 2 float32."""
    compressors = [ZstdCodec(level=1, checksum=True)] if compressed else []
    array = zarr.create_array(
        folder,
        shape=(rows, 2),
        dtype="float32",
        chunks=(16, 2),
        shards=(64, 2),
        filters=None,
        compressors=[*compressors, Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
    )
    array[...] = np.arange(2 * rows).reshape(rows, 2)
    return folder / "c.0.0"


def test_checksums_are_crc32c() -> None:
    assert checksum(b"123456789") == checksum(memoryview(b"123456789")) == CHECK_VALUE
    assert checksum(b"") == bytes(4)


def test_data_is_sound_when_it_ends_with_its_own_checksum() -> None:
    assert is_sound(b"123456789" + CHECK_VALUE)
    assert not is_sound(b"123456780" + CHECK_VALUE)
    assert not is_sound(CHECK_VALUE[:3])
    assert is_sound(bytes(4)), "nothing, with the checksum of nothing"


@pytest.mark.parametrize("rows", [1, 16, 17, 40, 64])
def test_the_index_of_a_shard_lists_the_chunks_that_are_there(tmp_path: Path, rows: int) -> None:
    data = shard_file(tmp_path, rows=rows).read_bytes()
    chunks, stored = -(-rows // 16), 16 * 2 * 4 + 4
    index = data[-index_bytes(4) :]
    assert chunk_ranges(index).tolist() == [[n * stored, (n + 1) * stored] for n in range(chunks)]
    assert index == sequential_index(4, stored, chunks)
    assert len(data) == chunks * stored + len(index)


@pytest.mark.parametrize("compressed", [False, True])
def test_listed_and_proved_checksums_agree(tmp_path: Path, compressed: bool) -> None:
    file = shard_file(tmp_path, compressed=compressed)
    data = file.read_bytes()
    found = stored_checksums(data, 4)
    assert b"".join(found) == listed_checksums(file, 4)
    assert found == [checksum(data[first : last - 4]) for first, last in chunk_ranges(data[-68:]).tolist()]
    assert len(set(found)) == 3


def test_a_chunk_file_without_an_index_is_one_chunk(tmp_path: Path) -> None:
    file = tmp_path / "c.0"
    file.write_bytes(b"123456789" + CHECK_VALUE)
    assert stored_checksums(file.read_bytes(), 0) == [CHECK_VALUE]
    assert listed_checksums(file, 0) == CHECK_VALUE


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    data = shard_file(tmp_path).read_bytes()
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"index of the shard is damaged|inner chunk [0-2] is damaged"):
            stored_checksums(bytes(spoilt), 4)


def test_every_truncation_is_found(tmp_path: Path) -> None:
    data = shard_file(tmp_path).read_bytes()
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"shorter than its index|index of the shard is damaged"):
            stored_checksums(data[:size], 4)


def test_the_damaged_chunk_is_named(tmp_path: Path) -> None:
    data = bytearray(shard_file(tmp_path).read_bytes())
    data[132 + 5] ^= 1
    with pytest.raises(ValueError, match=r"^inner chunk 1 is damaged$"):
        stored_checksums(bytes(data), 4)


def test_an_index_cut_to_whole_entries_is_damaged(tmp_path: Path) -> None:
    index = shard_file(tmp_path).read_bytes()[-index_bytes(4) :]
    with pytest.raises(ValueError, match="damaged"):
        chunk_ranges(index[16:])
