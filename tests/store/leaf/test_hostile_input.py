"""Metadata and manifests that someone else wrote: refused before memory or files outside the lake are touched."""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.errors import BitlakeError, DamagedArtifact
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.labelled import datasets
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Schema
from store.revisions.objects import parse_manifest
from tests.counts import count
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, forge, vectors

MEGABYTE = 1 << 20
CANARY = "canary"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Three leaves of every kind of array, in several shards, and a file outside that must not be read."""
    layout = Layout(tmp_path_factory.mktemp("hostile") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.leaf.schema.CHUNK_BYTES", 64 * 32)
        patch.setattr("store.leaf.schema.SHARD_CHUNKS", 2)
        commit_embeddings(layout, rows=300)
        commit_judgements(layout, documents=30, queries=10)
        with commit_leaf(layout, BINARY_CODES, CELL) as leaf:
            leaf.write("phase1/documents", codes())
            leaf.write("phase1/queries", codes()[:, :3])
            leaf.write("phase1/seed", np.arange(2, dtype=np.int32))
            leaf.describe_group("phase1", bits=[64])
            leaf.describe(**CELL, fit_rows=0)
    for name in (f"{CANARY}.json", "zarr.json", f"{CANARY}/zarr.json", f"{CANARY}/c.0.0"):
        path = layout.root.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"attributes": {}}')
    return layout


def codes() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.RandomState(0).randint(0, 256, (2, 200, 8)).astype(np.uint8)


LEAVES: dict[str, tuple[Schema, dict[str, str], dict[str, Any]]] = {
    "embeddings": (EMBEDDINGS, CELL, {"documents": vectors(300), "queries": vectors(10, seed=1)}),
    "judgements": (
        JUDGEMENTS,
        {"dataset": "d"},
        {
            "document_id": np.array([f"document-{row}" for row in range(30)], object),
            "relevance": np.ones(10, np.int32),
        },
    ),
    "codes": (
        BINARY_CODES,
        CELL,
        {"phase1/documents": codes(), "phase1/seed": np.arange(2, dtype=np.int32)},
    ),
}
"""Schema, keys and expected values of each leaf."""


@pytest.fixture
def watched(lake: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if a file outside the project is opened, or more memory taken than a small leaf can need."""
    outside: list[str] = []
    inside = str(lake.root)

    def watch(opened: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike):
                found = os.path.realpath(os.fspath(path))
                if CANARY in found or (
                    found.startswith(str(lake.root.parent)) and not found.startswith(inside)
                ):
                    outside.append(found)
            return opened(path, *arguments, **options)

        return call

    monkeypatch.setattr(builtins, "open", watch(builtins.open))
    monkeypatch.setattr(io, "open", watch(io.open))
    monkeypatch.setattr(os, "open", watch(os.open))
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert outside == []
    assert peak < 16 * MEGABYTE


@dataclass(frozen=True)
class Changed:
    """A leaf whose metadata is changed for a while."""

    layout: Layout
    name: str

    @property
    def schema(self) -> Schema:
        return LEAVES[self.name][0]

    @property
    def expected(self) -> dict[str, Any]:
        return LEAVES[self.name][2]

    @property
    def folder(self) -> Path:
        return self.layout.leaf(self.schema.artifact, LEAVES[self.name][1])

    def metadata(self, path: str) -> Any:
        return json.loads((self.folder / path / "zarr.json").read_text())

    @contextlib.contextmanager
    def holding(self, path: str, metadata: Any) -> Iterator[None]:
        root, file = self.folder / "zarr.json", self.folder / path / "zarr.json"
        before = {written: written.read_bytes() for written in (root, file)}
        file.write_bytes(metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode())
        if file != root:
            forge(self.folder)
        try:
            yield
        finally:
            for written, content in before.items():
                written.write_bytes(content)

    def open_with(self, path: str, metadata: Any) -> Leaf:
        with self.holding(path, metadata):
            return open_leaf(self.folder, self.schema)


REMOVED = object()
Where = tuple[str | int, ...]


def put(metadata: Any, where: Where, value: Any) -> None:
    """Set the entry at a path of keys and positions, or take it away."""
    *steps, last = where
    for step in steps:
        metadata = metadata[step]
    if value is REMOVED:
        del metadata[last]
    else:
        metadata[last] = value


GRID = ("chunk_grid", "configuration", "chunk_shape")
SHARD = ("codecs", 0, "configuration")
CODECS = (*SHARD, "codecs")
ARRAYS = ("attributes", "bitlake", "arrays")
ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": True}}

LISTED: list[Any] = [
    {},
    [],
    "c.0.0",
    {f"../../../../{CANARY}/c.0.0": "00", "c.1.0": "00", "c.2.0": "00"},
    {"c.0.0": "00", "c.1.0": "00", "c.9.0": "00"},
    {"c.0.0": "00", "c.1.0": "00", "c.-1.0": "00"},
    {"c.0.0": "00", "c.1.0": "00", "c.٢.0": "00"},
    {"c.0.0": "00", "c.1.0": "00", "c.02.0": "00"},
    {"c.0.0": "00", "c.1.0": "00", "c.2.0": "xy"},
    {"c.0.0": "00", "c.1.0": "00", "c.2.0": 5},
]

OF_AN_ARRAY: list[tuple[Where, Any]] = [
    *(
        (("shape", 0), rows)
        for rows in (10**18, 10**9, 321, 256, -1, 300.0, True, "300", None, 10**400, [300])
    ),
    *((("shape",), shape) for shape in ([], [300], [300, 16, 1], {"0": 300}, 300)),
    *(((*GRID, 0), rows) for rows in (10**18, 0, -1, 1, 1.5, True, None, "128")),
    (GRID, [10**18, 10**18]),
    (("chunk_grid", "name"), "rectangular"),
    (("chunk_grid",), []),
    *(((*SHARD, "chunk_shape", 0), rows) for rows in (10**18, 0, -64, 7, "64")),
    ((*SHARD, "chunk_shape"), [1, 1]),
    ((*SHARD, "chunk_shape"), [128, 8]),
    (CODECS, []),
    ((*CODECS, 0, "configuration", "endian"), "big"),
    ((*CODECS, 0, "name"), "pickle"),
    ((*CODECS, 1), ZSTD),
    ((*CODECS, 1), REMOVED),
    ((*SHARD, "index_location"), "start"),
    ((*SHARD, "index_codecs"), []),
    (("codecs",), []),
    (("codecs",), "crc32c"),
    (("codecs", 0, "name"), "numcodecs.pickle"),
    (("data_type",), "float64"),
    (("data_type",), {"name": "struct"}),
    (("dimension_names",), ["metadata"]),
    (("dimension_names",), REMOVED),
    (("fill_value",), 5),
    (("chunk_key_encoding", "configuration", "separator"), "/"),
    (("chunk_key_encoding", "name"), "v2"),
    (("attributes",), []),
    (("attributes", "_FillValue"), 0),
    (("attributes", "scale_factor"), 2.0),
    (("attributes", "units"), "days since 2000-01-01"),
    (("storage_transformers",), [{"name": "other"}]),
    (("zarr_format",), 2),
    (("node_type",), "group"),
    (("other",), {"must_understand": True}),
]

OF_A_LEAF: list[tuple[Where, Any]] = [
    (("attributes",), []),
    (("attributes", "bitlake"), []),
    (("attributes", "bitlake", "version"), 4),
    (ARRAYS, ["documents"]),
    (ARRAYS, {}),
    *(
        ((*ARRAYS, name), {"c.0.0": "00000000"})
        for name in (
            f"../../../../{CANARY}",
            f"/{CANARY}",
            ".",
            "",
            "../d/documents",
            "C:/x",
            "a\0b",
            "queries/..",
        )
    ),
    *(((*ARRAYS, "documents"), listed) for listed in LISTED),
    (("attributes", "model"), 5),
    (("attributes", "encoder"), REMOVED),
    (("attributes", "elsewhere"), "x"),
    (("attributes", "coordinates"), "documents"),
    (("zarr_format",), 2),
    (("node_type",), "array"),
    (("consolidated_metadata",), {"metadata": {f"../../../../{CANARY}": {}}}),
]

NO_DOCUMENTS = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'{"attributes": 1e999}',
    b'{"shape": NaN}',
    b"\xff\xfe\x00",
    b"{" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"attributes": ' + b'{"a": ' * 50_000 + b"5" + b"}" * 50_001,
    b'{"shape": ' + b"9" * 100_000 + b"}",
]


@pytest.mark.parametrize(("where", "value"), OF_AN_ARRAY)
def test_an_array_that_no_commit_wrote_is_refused(
    lake: Layout, watched: None, where: Where, value: Any
) -> None:
    changed = Changed(lake, "embeddings")
    metadata = changed.metadata("documents")
    put(metadata, where, value)
    with pytest.raises(DamagedArtifact, match=r"embeddings/m/d: .*; remove the artifact, then run") as raised:
        changed.open_with("documents", metadata)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("where", "value"), OF_A_LEAF)
def test_a_leaf_that_no_commit_wrote_is_refused(
    lake: Layout, watched: None, where: Where, value: Any
) -> None:
    changed = Changed(lake, "embeddings")
    metadata = changed.metadata("")
    put(metadata, where, value)
    with pytest.raises(DamagedArtifact, match=r"embeddings/m/d: ") as raised:
        changed.open_with("", metadata)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", NO_DOCUMENTS, ids=range(len(NO_DOCUMENTS)))
@pytest.mark.parametrize("path", ["", "documents"])
def test_what_is_no_document_is_refused(lake: Layout, watched: None, path: str, content: bytes) -> None:
    with pytest.raises(DamagedArtifact, match=r"embeddings/m/d: "):
        Changed(lake, "embeddings").open_with(path, content)


def test_a_group_that_no_commit_wrote_is_refused(lake: Layout, watched: None) -> None:
    changed = Changed(lake, "codes")
    others: list[Any] = [{}, [], {"attributes": [], "node_type": "group", "zarr_format": 3}]
    for metadata in others:
        with pytest.raises(DamagedArtifact, match=r"binary_codes/m/d: "):
            changed.open_with("phase1", metadata)


# Manifests of DVC


@pytest.mark.parametrize(
    "name",
    [
        "../zarr.json",
        "documents/../../zarr.json",
        "/etc/passwd",
        "documents//c.0.0",
        "documents/./c.0.0",
        "..",
        "",
        ".",
        "a\\b",
        "C:/x",
        "zarr.json\n",
        "zarr.json\0",
        "%2e%2e/zarr.json",
        "file:///zarr.json",
        5,
        None,
        ["zarr.json"],
    ],
)
def test_a_manifest_that_names_what_no_leaf_holds_is_refused(watched: None, name: Any) -> None:
    content = json.dumps([{"relpath": name, "md5": "0" * 32}]).encode()
    with pytest.raises(DamagedArtifact, match=r"^leaf: its manifest ") as raised:
        parse_manifest(content, "leaf")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "md5", ["", "0" * 31, "0" * 33, "G" * 32, "../" * 11, "0" * 32 + ".dir", 5, None, ["0"]]
)
def test_a_manifest_with_what_is_no_md5_is_refused(watched: None, md5: Any) -> None:
    content = json.dumps([{"relpath": "zarr.json", "md5": md5}]).encode()
    with pytest.raises(DamagedArtifact, match=r"^leaf: its manifest names 'zarr.json'"):
        parse_manifest(content, "leaf")


NO_MANIFESTS = [
    *(content for content in NO_DOCUMENTS if content != b"[]"),
    *(b"{}", b"[5]", b'["a"]', b'[{"relpath": "a"}]', b'[{"relpath": {}, "md5": ""}]'),
]


@pytest.mark.parametrize("content", NO_MANIFESTS, ids=range(len(NO_MANIFESTS)))
def test_what_is_no_manifest_is_refused(watched: None, content: bytes) -> None:
    with pytest.raises(DamagedArtifact, match=r"^leaf: its manifest is not one of DVC's"):
        parse_manifest(content, "leaf")


# Any change at all


def nodes(metadata: Any, where: Where = ()) -> Iterator[Where]:
    """The place of every entry of metadata."""
    entries = metadata.items() if isinstance(metadata, dict) else enumerate(metadata)
    for key, value in entries:
        yield (*where, key)
        if isinstance(value, dict | list):
            yield from nodes(value, (*where, key))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 400),
    st.sampled_from([10**9, 10**18, 2**63, 2**64, 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["..", "/", "c", "string", "float16", "crc32c", "little", "big", "NaN", "0" * 8]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(data=st.data())
@settings(
    max_examples=count(full=1500, quick=100),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_changed_document_is_refused_or_reads_as_before(lake: Layout, data: st.DataObject) -> None:
    """Never another exception, and never other values."""
    changed = Changed(lake, data.draw(st.sampled_from(sorted(LEAVES))))
    paths = sorted(
        path.parent.relative_to(changed.folder).as_posix() for path in changed.folder.rglob("zarr.json")
    )
    path = data.draw(st.sampled_from(paths)).removeprefix(".")
    metadata = changed.metadata(path)
    for _ in range(data.draw(st.integers(1, 2))):
        # How many rows a chunk has is proved by what is listed, where there is more than one: see above.
        places = [where for where in nodes(metadata) if "chunk_shape" not in where]
        where = data.draw(st.sampled_from(places))
        other = data.draw(st.sampled_from(places))
        value = data.draw(st.one_of(VALUES, st.just(REMOVED), st.just(copy.deepcopy(at(metadata, other)))))
        if data.draw(st.booleans()) and isinstance(at(metadata, where), dict):
            where = (*where, data.draw(st.text(max_size=5)))
            value = None if value is REMOVED else value
        put(metadata, where, value)
        if not isinstance(metadata, dict):
            break
    with changed.holding(path, metadata), contextlib.suppress(BitlakeError):
        leaf = open_leaf(changed.folder, changed.schema)
        for name, expected in changed.expected.items():
            group, _, variable = name.rpartition("/")
            for found in (leaf.read(name), datasets(leaf)[group][variable].values):
                # A shape changed within the padding of its last chunk, and listed again, is not noticed.
                common = tuple(slice(min(sizes)) for sizes in zip(found.shape, expected.shape, strict=True))
                np.testing.assert_array_equal(found[common], expected[common])


def at(metadata: Any, where: Where) -> Any:
    for step in where:
        metadata = metadata[step]
    return metadata
