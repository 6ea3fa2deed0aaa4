"""Rows read and written without Zarr are, byte for byte, what Zarr would have read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices
from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec

from store.errors import InvalidInput
from store.leaf.arrays.index import selected
from store.leaf.arrays.rows import RowChunks, read_spans, row_chunks, write_rows
from store.leaf.arrays.shard import CHECKSUM_BYTES, listed_checksums
from tests.counts import count

DTYPES = ("bool", "uint8", "int32", "float16", "float32", "float64")
EXAMPLES = count(full=1000, quick=100)
CHUNK, SHARD = (4, 3), (12, 3)


def create(folder: Path, shape: tuple[int, ...], dtype: str, **changes: Any) -> zarr.Array[Any]:
    """A Zarr array with the codecs and names of the lake."""
    settings: dict[str, Any] = {
        "chunks": CHUNK,
        "shards": SHARD,
        "filters": None,
        "compressors": [Crc32cCodec()],
        "fill_value": np.nan if np.dtype(dtype).kind == "f" else 0,
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "config": {"write_empty_chunks": True},
    }
    return zarr.create_array(folder, shape=shape, dtype=dtype, **settings | changes)


def layout_of(folder: Path) -> RowChunks | None:
    return row_chunks(json.loads((folder / "zarr.json").read_text()))


def read_index(
    folder: Path,
    layout: RowChunks,
    checksums: Mapping[str, Sequence[bytes]],
    shape: tuple[int, ...],
    index: Any,
) -> np.ndarray[Any, Any] | None:
    """The values of an index whose positions are consecutive; None for any other."""
    chosen = selected(index, shape)
    spans = [part for part in chosen.along if isinstance(part, range) and part.step == 1]
    if len(spans) < len(chosen.along):
        return None
    found = read_spans(folder, layout, checksums, spans)
    return None if found is None else found.reshape(chosen.shape)


def checksums_of(folder: Path, inner: int) -> dict[str, list[bytes]]:
    found = {}
    for file in folder.glob("c.*"):
        listed = listed_checksums(file, inner)
        found[file.name] = [listed[at : at + CHECKSUM_BYTES] for at in range(0, len(listed), CHECKSUM_BYTES)]
    return found


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], tuple[int, ...], tuple[int, ...] | None]:
    """Values with their chunks and shards: leading dimensions split, rows cut, rows of zero to two dimensions."""
    leading = draw(st.lists(st.integers(1, 3), max_size=2))
    row = draw(st.lists(st.integers(1, 5), max_size=2))
    rows, chunk_rows = draw(st.integers(1, 40)), draw(st.integers(1, 9))
    shape = (*leading, rows, *row)
    chunks = (*[1] * len(leading), chunk_rows, *row)
    inner = draw(st.none() | st.integers(1, 5))
    shards = None if inner is None else (*[1] * len(leading), chunk_rows * inner, *row)
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    drawn = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    return drawn.randint(0, 200, shape).astype(dtype), chunks, shards


@given(arrays(), st.data())
@settings(max_examples=EXAMPLES)
def test_written_bytes_and_read_values_are_those_of_zarr(
    drawn: tuple[np.ndarray[Any, Any], tuple[int, ...], tuple[int, ...] | None], data: st.DataObject
) -> None:
    values, chunks, shards = drawn
    with TemporaryDirectory() as temporary:
        theirs, ours = Path(temporary, "theirs"), Path(temporary, "ours")
        array = create(theirs, values.shape, str(values.dtype), chunks=chunks, shards=shards)
        array[...] = values
        layout = layout_of(theirs)
        assert layout is not None
        ours.mkdir()
        for place in np.ndindex(*values.shape[: layout.axis]):
            rows = values[place]
            for number in range(-(-len(rows) // layout.file_rows)):
                part = rows[number * layout.file_rows : (number + 1) * layout.file_rows]
                cuts = data.draw(st.lists(st.integers(0, len(part)), max_size=3).map(sorted))
                write_rows(
                    ours / layout.file_name(*place, number), layout, np.split(part, cuts), array.fill_value
                )
        files = {file.name: file.read_bytes() for file in theirs.glob("c.*")}
        assert {file.name: file.read_bytes() for file in ours.iterdir()} == files

        listed = checksums_of(ours, layout.inner)
        index = data.draw(row_indices(values.shape, layout.axis))
        found = read_index(ours, layout, listed, values.shape, index)
        assert found is not None
        np.testing.assert_array_equal(found, array[index])
        assert (found.shape, found.dtype) == (values[index].shape, values.dtype)
        any_index = data.draw(basic_indices(values.shape, allow_newaxis=False))
        found = read_index(ours, layout, listed, values.shape, any_index)
        if found is not None:
            np.testing.assert_array_equal(found, values[any_index])


@st.composite
def row_indices(draw: st.DrawFn, shape: tuple[int, ...], axis: int) -> tuple[int | slice, ...]:
    """Consecutive whole rows, in one or several positions of what is before them."""
    index: list[int | slice] = []
    for size in shape[: axis + 1]:
        first = draw(st.integers(0, size - 1))
        last = draw(st.integers(first, size))
        index.append(first if draw(st.booleans()) else slice(first, last))
    return tuple(index)


@pytest.mark.parametrize(
    "index",
    [
        ...,
        (),
        3,
        -1,
        np.int64(5),
        slice(4, 9),
        (slice(2, 3), ...),
        (..., slice(None)),
        slice(90, 100),
        slice(5, 2),
    ],
)
def test_rows_are_read_directly(tmp_path: Path, index: Any) -> None:
    values = np.arange(87, dtype="f4").reshape(29, 3)
    create(tmp_path, values.shape, "float32")[...] = values
    layout = layout_of(tmp_path)
    assert layout == RowChunks(np.dtype("<f4"), 0, (3,), 4, 3)
    found = read_index(tmp_path, layout, checksums_of(tmp_path, 3), values.shape, index)
    assert found is not None
    np.testing.assert_array_equal(found, values[index])


@pytest.mark.parametrize(
    "index",
    [[1, 2], slice(0, 9, 2), slice(9, 0, -1), (0, 1), (slice(None), slice(0, 2)), np.array([1])],
)
def test_every_other_index_is_left_to_the_reader_of_chunks(tmp_path: Path, index: Any) -> None:
    create(tmp_path, (29, 3), "float32")[...] = 1
    layout = layout_of(tmp_path)
    assert layout is not None
    assert read_index(tmp_path, layout, checksums_of(tmp_path, 3), (29, 3), index) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"compressors": [ZstdCodec(level=1, checksum=True), Crc32cCodec()]},
        {"compressors": None},
        {"chunks": (4, 1), "shards": (12, 3)},
        {"chunks": (4, 1), "shards": (12, 1)},
        {"chunks": (4, 1), "shards": None},
        {"shape": (0, 3)},
        {"shape": (), "chunks": (), "shards": None},
        {"filters": [TransposeCodec(order=(1, 0))]},
    ],
)
def test_another_layout_is_left_to_the_reader_of_chunks(tmp_path: Path, changes: dict[str, Any]) -> None:
    create(tmp_path, **{"shape": (29, 3), "dtype": "float32"} | changes)
    assert layout_of(tmp_path) is None


def test_big_endian_numbers_and_an_index_at_the_start_are_left_to_the_reader_of_chunks(
    tmp_path: Path,
) -> None:
    create(tmp_path, (29, 3), "float32")
    text = (tmp_path / "zarr.json").read_text()
    assert row_chunks(json.loads(text)) is not None
    assert (
        row_chunks(json.loads(text.replace('"index_location": "end"', '"index_location": "start"'))) is None
    )
    assert row_chunks(json.loads(text.replace('"little"', '"big"'))) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:48] + bytes([data[48] ^ 1]) + data[49:],
        lambda data: data[:-1] + bytes([data[-1] ^ 128]),
        lambda data: data[52:104] + data[:52] + data[104:],
        lambda data: b"",
    ],
    ids=["short", "long", "values", "checksum", "index", "chunks swapped", "empty"],
)
def test_what_is_not_as_it_was_written_is_not_believed(tmp_path: Path, spoil: Any) -> None:
    values = np.arange(36, dtype="f4").reshape(12, 3)
    create(tmp_path, values.shape, "float32")[...] = values
    layout, listed = layout_of(tmp_path), checksums_of(tmp_path, 3)
    assert layout is not None
    assert read_index(tmp_path, layout, listed, values.shape, slice(0, 2)) is not None
    file = tmp_path / "c.0.0"
    file.write_bytes(spoil(file.read_bytes()))
    assert read_index(tmp_path, layout, listed, values.shape, slice(0, 2)) is None
    file.unlink()
    assert read_index(tmp_path, layout, listed, values.shape, slice(0, 2)) is None


def test_padding_is_proved_like_values(tmp_path: Path) -> None:
    values = np.arange(15, dtype="f4").reshape(5, 3)
    create(tmp_path, values.shape, "float32")[...] = values
    layout, listed = layout_of(tmp_path), checksums_of(tmp_path, 3)
    assert layout is not None
    file = tmp_path / "c.0.0"
    data = bytearray(file.read_bytes())
    data[52 + 47] ^= 1  # the last byte of the second chunk, of which one row is used
    file.write_bytes(data)
    assert read_index(tmp_path, layout, listed, values.shape, slice(0, 4)) is not None
    assert read_index(tmp_path, layout, listed, values.shape, slice(4, 5)) is None


def test_rows_of_another_shape_and_too_many_rows_are_refused(tmp_path: Path) -> None:
    layout = RowChunks(np.dtype("<f4"), 0, (3,), 4, 3)
    with pytest.raises(InvalidInput, match=r"x: got rows of shape \(2,\), expected \(3,\)"):
        write_rows(tmp_path / "x", layout, [np.zeros((4, 2), "f4")], 0)
    with pytest.raises(InvalidInput, match=r"x: got 13 rows, a chunk file holds 12"):
        write_rows(tmp_path / "x", layout, [np.zeros((13, 3), "f4")], 0)


def test_rows_that_are_not_contiguous_or_of_another_byte_order_are_written_right(tmp_path: Path) -> None:
    values = np.arange(36, dtype=">f4").reshape(3, 12).T
    array = create(tmp_path, values.shape, "float32")
    array[...] = values
    wanted = (tmp_path / "c.0.0").read_bytes()
    layout = layout_of(tmp_path)
    assert layout is not None
    write_rows(tmp_path / "c.0.0", layout, [values[:5], values[5:]], array.fill_value)
    assert (tmp_path / "c.0.0").read_bytes() == wanted
