"""Reading arrays: for any index, only chunks that the leaf lists are returned."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Zstd  # type: ignore[import-untyped]
from numcodecs.vlen import VLenUTF8  # type: ignore[import-untyped]

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.errors import DamagedArtifact, InvalidInput
from store.layout import Layout
from store.leaf.arrays import array as reading_arrays
from store.leaf.arrays.decoding import most_text
from store.leaf.arrays.index import selected
from store.leaf.arrays.shard import checksum, chunk_ranges, index_bytes, sequential_index
from store.leaf.commit import commit_leaf
from store.leaf.reading import CONTENTS, Leaf, open_leaf
from store.leaf.schema import Field, Schema
from store.leaf.source import Folder
from tests.counts import count
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, vectors

ROWS, INNER, STORED = 300, 4, 64 * 16 * 2 + 4
"""Rows of the documents: five chunks of 64, in shards of four; bytes of a chunk with its checksum."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.leaf.schema.SHARD_CHUNKS", INNER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=ROWS)
    return layout.leaf("embeddings", CELL)


@dataclass(frozen=True)
class Remote:
    """A source that is no folder, and remembers what was read of it."""

    folder: Folder
    asked: list[tuple[str, int | None, int | None]] = field(default_factory=list, compare=False)
    label: str = "remote"
    remedy: str = "push it again"

    @cached_property
    def names(self) -> frozenset[str]:
        return self.folder.names

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        self.asked.append((name, start, end))
        return self.folder.read(name, start, end)


def rewrite_shard(file: Path, change: Callable[[list[bytes], np.ndarray[Any, Any]], bytes]) -> None:
    """Rewrite a shard by its inner chunks and the entries of its index; the index gets a right checksum."""
    data = file.read_bytes()
    index = data[-index_bytes(INNER) :]
    chunks = [data[first:last] for first, last in chunk_ranges(index).tolist()]
    entries = np.frombuffer(index[:-4], "<u8").reshape(-1, 2).copy()
    body = change(chunks, entries)
    file.write_bytes(body + entries.tobytes() + checksum(entries.tobytes()))


def leaf_of(folder: Path, direct: bool) -> Leaf:
    """The leaf read straight from its files where that can be, or by chunks as from a remote."""
    return open_leaf(Folder(folder) if direct else Remote(Folder(folder)), EMBEDDINGS)


@pytest.mark.parametrize("direct", [False, True])
def test_any_zarr_reader_reads_the_same(folder: Path, direct: bool) -> None:
    array = zarr.open_array(folder, path="documents", mode="r")
    leaf = leaf_of(folder, direct)
    np.testing.assert_array_equal(array[...], leaf.read("documents"))
    np.testing.assert_array_equal(array[60:70, 3], leaf.read("documents", (slice(60, 70), 3)))
    rows = np.array([5, 250, 299])
    np.testing.assert_array_equal(array.oindex[rows], leaf.read("documents", rows))


def test_ten_rows_cost_the_index_and_two_chunks_at_once(folder: Path) -> None:
    remote = Remote(Folder(folder))
    leaf = open_leaf(remote, EMBEDDINGS)
    remote.asked.clear()
    np.testing.assert_array_equal(leaf.read("documents", slice(60, 70)), vectors(ROWS)[60:70])
    chunks = [(start, end) for name, start, end in remote.asked if name == "documents/c.0.0"]
    assert sorted(chunks, key=str) == [(-index_bytes(INNER), None), (0, 2 * STORED)]
    assert not [name for name, _, _ in remote.asked if name == "documents/c.1.0"]


@pytest.mark.parametrize("rows", [slice(None), slice(0, 10), slice(200, 210)], ids=["all", "first", "last"])
@pytest.mark.parametrize("direct", [False, True])
def test_two_files_of_one_shape_that_changed_places_raise(folder: Path, direct: bool, rows: slice) -> None:
    commit_embeddings(Layout(folder.parents[3]), rows=2 * INNER * 64)
    leaf = leaf_of(folder, direct)
    first, second = folder / "documents/c.0.0", folder / "documents/c.1.0"
    assert first.stat().st_size == second.stat().st_size
    aside = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(aside)
    with pytest.raises(DamagedArtifact, match=r"documents/c\.[01]\.0 is damaged, or has changed since"):
        leaf.read("documents", rows)
    with pytest.raises(DamagedArtifact, match=r"documents/c\.1\.0 is damaged"):
        leaf.read("documents", slice(300, 310))


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 10)], ids=["all", "some"])
def test_an_index_that_lacks_a_chunk_raises_instead_of_reading_as_fill_values(
    folder: Path, rows: slice, direct: bool
) -> None:
    def forget(chunks: list[bytes], entries: np.ndarray[Any, Any]) -> bytes:
        entries[0] = np.iinfo(np.uint64).max
        return b"".join(chunks)

    rewrite_shard(folder / "documents/c.0.0", forget)
    leaf = leaf_of(folder, direct)
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 is damaged"):
        leaf.read("documents", rows)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 10)], ids=["all", "some"])
def test_an_index_that_points_to_another_chunk_of_its_shard_raises(
    folder: Path, rows: slice, direct: bool
) -> None:
    def exchange(chunks: list[bytes], entries: np.ndarray[Any, Any]) -> bytes:
        entries[[0, 1]] = entries[[1, 0]]
        return b"".join(chunks)

    rewrite_shard(folder / "documents/c.0.0", exchange)
    leaf = leaf_of(folder, direct)
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 is damaged"):
        leaf.read("documents", rows)


@pytest.mark.parametrize("direct", [False, True])
def test_chunks_in_another_order_with_a_right_index_are_read(folder: Path, direct: bool) -> None:
    def reverse(chunks: list[bytes], entries: np.ndarray[Any, Any]) -> bytes:
        entries[:, 0] = entries[::-1, 0].copy()
        return b"".join(chunks[::-1])

    rewrite_shard(folder / "documents/c.0.0", reverse)
    leaf = leaf_of(folder, direct)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(ROWS))
    np.testing.assert_array_equal(leaf.read("documents", slice(60, 70)), vectors(ROWS)[60:70])


def test_a_damaged_chunk_raises_and_the_others_are_still_read(folder: Path) -> None:
    file = folder / "documents/c.0.0"
    data = bytearray(file.read_bytes())
    data[STORED + 7] ^= 1
    file.write_bytes(data)
    for leaf, remedy in (
        (leaf_of(folder, True), "run `dvc repro`"),
        (leaf_of(folder, False), "push it again"),
    ):
        np.testing.assert_array_equal(leaf.read("documents", slice(0, 64)), vectors(ROWS)[0:64])
        np.testing.assert_array_equal(leaf.read("documents", [3, 200]), vectors(ROWS)[[3, 200]])
        for index in (slice(64, 128), slice(None), [65], (slice(None), 3)):
            with pytest.raises(
                DamagedArtifact,
                match=f"c.0.0 is damaged.*open it again, and if that fails remove the artifact, then {remedy}",
            ):
                leaf.read("documents", index)


def test_a_whole_small_file_is_one_request_and_a_large_one_is_asked_for_in_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Remote(Folder(folder))
    leaf = open_leaf(remote, EMBEDDINGS)
    remote.asked.clear()
    np.testing.assert_array_equal(leaf.read("documents"), vectors(ROWS))
    assert sorted(remote.asked) == [("documents/c.0.0", None, None), ("documents/c.1.0", None, None)]
    monkeypatch.setattr(reading_arrays, "REQUEST_BYTES", 2 * STORED)
    remote.asked.clear()
    np.testing.assert_array_equal(leaf.read("documents"), vectors(ROWS))
    assert sorted(remote.asked, key=str) == [
        ("documents/c.0.0", -index_bytes(INNER), None),
        ("documents/c.0.0", 0, 2 * STORED),
        ("documents/c.0.0", 2 * STORED, 4 * STORED),
        ("documents/c.1.0", None, None),
    ]


def test_a_reader_survives_pickling_and_still_proves_what_it_reads(folder: Path) -> None:
    leaf = leaf_of(folder, False)
    leaf.read("documents", slice(0, 3))
    copy: Leaf = pickle.loads(pickle.dumps(leaf))
    np.testing.assert_array_equal(copy.read("documents", slice(0, 3)), vectors(ROWS)[0:3])
    (folder / "documents/c.0.0").write_bytes(sequential_index(INNER, STORED, 0))
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 ends after"):
        copy.read("documents", slice(0, 3))


# Any index of any array


EVERY = Schema(
    "every",
    ("model", "dataset"),
    {
        "split": Field(("seed", "row", "column"), "int32", "split", rows="row", split=("seed",)),
        "small": Field(("seed", "row", "column"), "float64", "compressed", rows="row", compress=True),
        "later": Field(("seed", "column", "row"), "uint8", "rows are last", rows="row"),
        "whole": Field(("row", "column"), "bool", "one chunk", compress=True),
        "text": Field(("row",), "string", "one chunk of texts"),
        "texts": Field(("row",), "string", "chunks of texts", rows="row", compress=True),
    },
)
SHAPE = (3, 37, 5)


def every_value() -> dict[str, Any]:
    draw = np.random.RandomState(0)
    texts = [f"text {row} ä" * (row % 4) for row in range(SHAPE[1])]
    return {
        "split": draw.randint(-9, 9, SHAPE).astype(np.int32),
        "small": draw.uniform(size=SHAPE),
        "later": draw.randint(0, 256, (3, 5, 37)).astype(np.uint8),
        "whole": draw.uniform(size=SHAPE[1:]) > 0.5,
        "text": np.array(texts, np.dtypes.StringDType()),
        "texts": np.array(texts[::-1], np.dtypes.StringDType()),
    }


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = Layout(tmp_path_factory.mktemp("every"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.leaf.schema.CHUNK_BYTES", 256)
        patch.setattr("store.leaf.schema.MIN_CHUNK_ROWS", 4)
        patch.setattr("store.leaf.schema.SHARD_CHUNKS", 3)
        patch.setattr("store.leaf.schema.STRING_ROWS", 8)
        with commit_leaf(layout, EVERY, CELL) as leaf:
            for name, values in every_value().items():
                leaf.write(name, values)
    return layout.leaf("every", CELL)


@st.composite
def any_index(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    parts: list[Any] = []
    for size in shape:
        position = st.integers(-size, size - 1)
        parts.append(
            draw(
                st.one_of(
                    position,
                    st.slices(size),
                    st.lists(position, max_size=6),
                    st.lists(position, max_size=6).map(np.array),
                    st.lists(st.booleans(), min_size=size, max_size=size).map(np.array),
                )
            )
        )
    return tuple(parts[: draw(st.integers(0, len(shape)))])


def crossed(values: np.ndarray[Any, Any], index: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """What NumPy gives for one dimension after the other."""
    for axis in reversed(range(len(index))):
        part = np.array(index[axis], np.intp) if isinstance(index[axis], list) else index[axis]
        part = part.astype(np.intp) if isinstance(part, np.ndarray) and part.dtype.kind == "f" else part
        values = values[(slice(None),) * axis + (part,)]
    return np.asarray(values)


@given(data=st.data())
@settings(max_examples=count(full=1500, quick=200))
def test_every_index_of_every_layout_reads_as_from_an_array_in_memory(
    every: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(EVERY.fields)))
    values = every_value()[name]
    direct = data.draw(st.booleans())
    leaf = open_leaf(Folder(every) if direct else Remote(Folder(every)), EVERY)
    index = data.draw(any_index(values.shape))
    found, expected = leaf.read(name, index), crossed(values, index)
    assert (found.shape, found.dtype) == (expected.shape, values.dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "index",
    [5, -6, (0, 0, 0), (..., ...), [5], [-6], [True], True, None, "a", 1.0, [1.0], [[1, 2]],
     np.ones((5, 2), bool)],
)  # fmt: skip
def test_what_is_no_index_raises(index: Any) -> None:
    with pytest.raises(IndexError, match="index: "):
        selected(index, (5, 2))


# Chunks that no commit wrote


def put_chunk(folder: Path, path: str, content: bytes) -> None:
    """Replace the only chunk of an array, and let the leaf list it, as someone would who changed it on purpose."""
    (file,) = (folder / path).glob("c.*")
    file.write_bytes(content + checksum(content))
    root = folder / "zarr.json"
    document = json.loads(root.read_text())
    document["attributes"][CONTENTS]["arrays"][path][file.name] = checksum(content).hex()
    root.write_text(json.dumps(document))


def texts(*values: str, said: int | None = None) -> bytes:
    """A chunk of texts, which may say that it holds another number of them."""
    encoded = bytes(VLenUTF8().encode(np.array(values, object)))
    return struct.pack("<I", len(values) if said is None else said) + encoded[4:]


def packed(content: bytes) -> bytes:
    return bytes(Zstd(level=3, checksum=True).encode(content))


def unsized(content: bytes) -> bytes:
    """A frame that does not say what it expands to: one raw block after a window descriptor."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + (len(content) << 3 | 1).to_bytes(3, "little") + content


ROWS_OF_A_CHUNK = 65536
FULL = ["document"] * ROWS_OF_A_CHUNK
HOSTILE = {
    "a bomb": packed(texts("\0" * (1 << 28), *FULL[1:])),
    "more texts than there are": packed(texts(*FULL, said=(1 << 32) - 1)),
    "fewer texts": packed(texts(*FULL[1:])),
    "a length beyond the end": packed(texts(*FULL)[:-3]),
    "no text": packed(texts(*FULL)[:-1] + b"\xff"),
    "no frame": b"\0" * 100,
    "nothing": b"",
    "a frame cut off": packed(texts(*FULL))[:50],
    "a bit of the content": packed(texts(*FULL))[:-6] + b"\0\0\0\0\0\0",
    "a frame of unknown size": unsized(texts(*FULL)[:1000]),
    "two frames": packed(texts(*FULL)) * 2,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_malformed_chunks_are_damage_and_expand_to_nothing_large(tmp_path: Path, content: bytes) -> None:
    layout = Layout(tmp_path)
    commit_judgements(layout, documents=30, queries=10)
    folder = layout.leaf("judgements", {"dataset": "d"})
    put_chunk(folder, "document_id", content)
    leaf = open_leaf(folder, JUDGEMENTS)
    tracemalloc.start()
    try:
        with pytest.raises(
            DamagedArtifact, match=r"document_id/c\.0 is damaged.*remove the artifact"
        ) as raised:
            leaf.read("document_id")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000
    assert peak < 16 << 20


@pytest.mark.parametrize("values", [b"", b"\0" * 12, b"\0" * 4000], ids=["none", "fewer", "more"])
def test_a_compressed_chunk_of_numbers_expands_to_its_size(
    every: Path, tmp_path: Path, values: bytes
) -> None:
    folder = tmp_path / "lake.zarr/every/m/d"
    shutil.copytree(every, folder)
    put_chunk(folder, "whole", packed(values))
    with pytest.raises(DamagedArtifact, match=r"whole/c\.0\.0 is damaged"):
        open_leaf(folder, EVERY).read("whole")


def test_texts_too_long_to_be_read_again_are_not_written(tmp_path: Path) -> None:
    long = "x" * most_text(1)
    with commit_leaf(Layout(tmp_path), EVERY, CELL) as leaf:
        for name, values in every_value().items():
            leaf.write(name, values if name != "texts" else [long, *values[1:].tolist()])
    assert open_leaf(Layout(tmp_path).leaf("every", CELL), EVERY).read("texts", 0) == long
    with (
        pytest.raises(InvalidInput, match=r"every/texts: .* bytes of text in 1 row.*; shorten"),
        commit_leaf(Layout(tmp_path), EVERY, CELL) as leaf,
    ):
        leaf.write("texts", [long + "x"])
