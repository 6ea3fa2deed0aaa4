"""The leaf as a Zarr store: whatever Zarr asks for, only what the manifest lists is handed out."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from store.artifacts.embeddings import EMBEDDINGS
from store.errors import DamagedArtifact
from store.layout import Layout
from store.leaf.reading import open_leaf
from store.leaf.shard import checksum, chunk_ranges, index_bytes, sequential_index
from store.leaf.source import Folder
from store.leaf.zarr_store import LeafStore
from tests.store.lakes import CELL, commit_embeddings, vectors

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


def store_of(folder: Path) -> LeafStore:
    return open_leaf(folder, EMBEDDINGS).store


def documents(store: LeafStore) -> zarr.Array[Any]:
    return zarr.open_array(store, path="documents", mode="r")


def rewrite_shard(file: Path, change: Callable[[list[bytes], np.ndarray[Any, Any]], bytes]) -> None:
    """Rewrite a shard by its inner chunks and the entries of its index; the index gets a right checksum."""
    data = file.read_bytes()
    index = data[-index_bytes(INNER) :]
    chunks = [data[first:last] for first, last in chunk_ranges(index).tolist()]
    entries = np.frombuffer(index[:-4], "<u8").reshape(-1, 2).copy()
    body = change(chunks, entries)
    file.write_bytes(body + entries.tobytes() + checksum(entries.tobytes()))


def test_zarr_reads_what_was_written(folder: Path) -> None:
    array = documents(store_of(folder))
    np.testing.assert_array_equal(array[...], vectors(ROWS))
    np.testing.assert_array_equal(array[60:70, 3], vectors(ROWS)[60:70, 3])
    np.testing.assert_array_equal(array.oindex[np.array([5, 250, 299])], vectors(ROWS)[[5, 250, 299]])


def test_ten_rows_cost_the_index_and_two_chunks(folder: Path) -> None:
    remote = Remote(Folder(folder))
    leaf = open_leaf(remote, EMBEDDINGS)
    remote.asked.clear()
    np.testing.assert_array_equal(leaf.read("documents", slice(60, 70)), vectors(ROWS)[60:70])
    chunks = [(start, end) for name, start, end in remote.asked if name == "documents/c.0.0"]
    assert sorted(chunks, key=str) == [(-index_bytes(INNER), None), (0, STORED), (STORED, 2 * STORED)]
    assert not [name for name, _, _ in remote.asked if name == "documents/c.1.0"]


@pytest.mark.parametrize("rows", [slice(None), slice(0, 10), slice(200, 210)], ids=["all", "first", "last"])
@pytest.mark.parametrize("direct", [False, True])
def test_two_files_of_one_shape_that_changed_places_raise(folder: Path, direct: bool, rows: slice) -> None:
    commit_embeddings(Layout(folder.parents[3]), rows=2 * INNER * 64)
    leaf = open_leaf(Folder(folder) if direct else Remote(Folder(folder)), EMBEDDINGS)
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
    leaf = open_leaf(Folder(folder) if direct else Remote(Folder(folder)), EMBEDDINGS)
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
    leaf = open_leaf(Folder(folder) if direct else Remote(Folder(folder)), EMBEDDINGS)
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 is damaged"):
        leaf.read("documents", rows)


@pytest.mark.parametrize("direct", [False, True])
def test_chunks_in_another_order_with_a_right_index_are_read(folder: Path, direct: bool) -> None:
    def reverse(chunks: list[bytes], entries: np.ndarray[Any, Any]) -> bytes:
        entries[:, 0] = entries[::-1, 0].copy()
        return b"".join(chunks[::-1])

    rewrite_shard(folder / "documents/c.0.0", reverse)
    leaf = open_leaf(Folder(folder) if direct else Remote(Folder(folder)), EMBEDDINGS)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(ROWS))
    np.testing.assert_array_equal(leaf.read("documents", slice(60, 70)), vectors(ROWS)[60:70])


def test_a_damaged_chunk_raises_and_the_others_are_still_read(folder: Path) -> None:
    file = folder / "documents/c.0.0"
    data = bytearray(file.read_bytes())
    data[STORED + 7] ^= 1
    file.write_bytes(data)
    array = documents(store_of(folder))
    np.testing.assert_array_equal(array[0:64], vectors(ROWS)[0:64])
    with pytest.raises(
        DamagedArtifact, match="open it again, and if that fails remove the artifact, then run `dvc repro`"
    ):
        array[64:128]


@pytest.mark.parametrize(
    "byte_range",
    [
        None,
        RangeByteRequest(0, STORED),
        RangeByteRequest(10, 20),
        RangeByteRequest(STORED, 3 * STORED),
        OffsetByteRequest(STORED),
        SuffixByteRequest(index_bytes(INNER)),
        SuffixByteRequest(12),
    ],
)
def test_any_range_of_a_chunk_file_is_proved(folder: Path, byte_range: ByteRequest | None) -> None:
    file = folder / "documents/c.0.0"
    data = file.read_bytes()
    match byte_range:
        case RangeByteRequest(start, end):
            wanted = data[start:end]
        case OffsetByteRequest(offset):
            wanted = data[offset:]
        case SuffixByteRequest(suffix):
            wanted = data[-suffix:]
        case _:
            wanted = data
    assert store_of(folder).read("documents/c.0.0", byte_range) == wanted
    # One bit in what is asked for.
    at = data.index(wanted) + 3
    file.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 is damaged"):
        store_of(folder).read("documents/c.0.0", byte_range)


def test_parts_of_documents_and_partial_values_are_handed_out(folder: Path) -> None:
    store, content = store_of(folder), (folder / "documents/zarr.json").read_bytes()
    requests: list[tuple[str, ByteRequest | None]] = [
        ("documents/zarr.json", RangeByteRequest(2, 9)),
        ("documents/zarr.json", OffsetByteRequest(5)),
        ("documents/zarr.json", SuffixByteRequest(4)),
        ("documents/none", None),
    ]
    found = asyncio.run(store.get_partial_values(default_buffer_prototype(), requests))
    assert [value and value.to_bytes() for value in found] == [content[2:9], content[5:], content[-4:], None]


def test_a_store_lists_its_files_and_is_never_written(folder: Path) -> None:
    store = store_of(folder)

    async def listed(names: Any) -> list[str]:
        return [name async for name in names]

    documents = [f"documents/{name}" for name in ("c.0.0", "c.1.0", "zarr.json")]
    queries = ["queries/c.0.0", "queries/zarr.json"]
    assert asyncio.run(listed(store.list())) == [*documents, *queries, "zarr.json"]
    assert asyncio.run(listed(store.list_prefix("queries/"))) == queries
    assert asyncio.run(listed(store.list_dir(""))) == ["documents", "queries", "zarr.json"]
    assert asyncio.run(listed(store.list_dir("queries/"))) == ["c.0.0", "zarr.json"]
    assert asyncio.run(store.exists("zarr.json"))
    assert not asyncio.run(store.exists("c.0.0"))
    with pytest.raises(ValueError, match="read-only"):
        zarr.open_array(store, path="documents", mode="r+")[0] = 0
    value = default_buffer_prototype().buffer.from_bytes(b"x")
    with pytest.raises(NotImplementedError, match=r"written by store\.leaf\.commit"):
        asyncio.run(store.set("x", value))
    with pytest.raises(NotImplementedError, match=r"replaced by store\.leaf\.commit"):
        asyncio.run(store.delete("x"))


def test_stores_are_equal_where_their_sources_are_and_survive_pickling(folder: Path, tmp_path: Path) -> None:
    store = store_of(folder)
    other = Layout(tmp_path / "other")
    commit_embeddings(other, rows=ROWS)
    assert store == store_of(folder)
    assert hash(store) == hash(store_of(folder))
    assert store != store_of(other.leaf("embeddings", CELL))
    assert store != folder
    assert repr(store) == f"LeafStore({str(folder)!r})"
    documents(store)[0:3]
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.read_only
    np.testing.assert_array_equal(documents(copy)[0:3], vectors(ROWS)[0:3])
    (folder / "documents/c.0.0").write_bytes(sequential_index(INNER, STORED, 0))
    with pytest.raises(DamagedArtifact, match=r"documents/c.0.0 is damaged"):
        documents(copy)[0:3]
