"""A leaf through xarray: every index as of the array in memory, checked like the leaf, and never copied twice."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.core import indexing

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.errors import DamagedArtifact
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.labelled import LeafArray, datasets, plain
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Field, Schema
from store.leaf.source import Folder
from tests.counts import count
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, vectors
from tests.store.leaf.arrays.test_array import EVERY, Remote, every, every_value

ROWS = 300

__all__ = ["every"]


@pytest.fixture
def leaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leaf:
    monkeypatch.setattr("store.leaf.schema.SHARD_CHUNKS", 2)
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=ROWS)
    return open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)


def test_dimensions_coordinates_attributes_and_cuts_are_those_of_the_leaf(leaf: Leaf, tmp_path: Path) -> None:
    data = datasets(leaf)[""]
    assert data.documents.dims == ("document", "dimension")
    assert data.documents.attrs == {"description": "document vectors", "units": "1"}
    assert data.documents.encoding["chunks"] == (64, 16)
    assert data.documents.encoding["shards"] == (128, 16)
    assert data.attrs["model"] == "m"
    commit_judgements(Layout(tmp_path), documents=30, queries=10)
    judged = datasets(open_leaf(tmp_path / "lake.zarr/judgements/d", JUDGEMENTS))[""]
    assert set(judged.coords) == {"document_id", "query_id"}
    assert judged.document_id.dtype == np.dtypes.StringDType()
    assert judged.document_id.values[[0, 29]].tolist() == ["document-0", "document-29"]
    assert str(judged.document_id[3].values) == "document-3"
    assert judged.relevance.encoding["shards"] is None


@st.composite
def labelled_index(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index of each of xarray's kinds."""
    kind = draw(st.sampled_from(["basic", "outer", "pointwise"]))
    if kind == "pointwise":
        points = draw(st.integers(0, 5))
        return indexing.VectorizedIndexer(
            tuple(
                np.array(draw(st.lists(st.integers(0, size - 1), min_size=points, max_size=points)), np.intp)
                for size in shape
            )
        )
    parts: list[Any] = []
    for size in shape:
        choices: list[st.SearchStrategy[Any]] = [st.integers(0, size - 1), st.slices(size)]
        if kind == "outer":
            choices.append(
                st.lists(st.integers(0, size - 1), max_size=6).map(lambda at: np.array(at, np.intp))
            )
        parts.append(draw(st.one_of(choices)))
    return (indexing.BasicIndexer if kind == "basic" else indexing.OuterIndexer)(tuple(parts))


@given(data=st.data())
@settings(max_examples=count(full=1500, quick=200))
def test_every_kind_of_index_gives_what_it_gives_of_the_array_in_memory(
    every: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(EVERY.fields)))
    values = every_value()[name]
    source = Folder(every) if data.draw(st.booleans()) else Remote(Folder(every))
    lazy = LeafArray(open_leaf(source, EVERY).reader(name))
    key = data.draw(labelled_index(values.shape))
    found = np.asarray(lazy[key])
    in_memory = indexing.as_indexable(values)  # type: ignore[no-untyped-call]
    expected = np.asarray(indexing.apply_indexer(in_memory, key))
    assert (found.shape, found.dtype) == (expected.shape, values.dtype)
    np.testing.assert_array_equal(found, expected)


@given(data=st.data())
@settings(max_examples=count(full=300, quick=50))
def test_indices_one_after_the_other_stay_lazy_and_right(every: Path, data: st.DataObject) -> None:
    lazy = datasets(open_leaf(every, EVERY))[""].split
    loaded = xr.DataArray(every_value()["split"], dims=lazy.dims)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(map(str, loaded.dims)) or ["seed"]))
        if name not in loaded.dims or not loaded.sizes[name]:
            continue
        size = loaded.sizes[name]
        at = data.draw(
            st.one_of(st.integers(-size, size - 1), st.slices(size), st.lists(st.integers(0, size - 1)))
        )
        lazy, loaded = lazy.isel({name: at}), loaded.isel({name: at})
    np.testing.assert_array_equal(lazy.values, loaded.values)
    assert lazy.dims == loaded.dims


def test_nothing_is_read_before_it_is_used_and_then_once(leaf: Leaf) -> None:
    remote = Remote(Folder(Path(leaf.source.label)))
    data = datasets(open_leaf(remote, EMBEDDINGS))[""]
    remote.asked.clear()
    part = data.isel(document=slice(64, 200)).documents
    assert not remote.asked
    np.testing.assert_array_equal(part.values, vectors(ROWS)[64:200])
    once = list(remote.asked)
    assert {name for name, _, _ in once} == {"documents/c.0.0", "documents/c.1.0"}
    np.testing.assert_array_equal(part.values, vectors(ROWS)[64:200])
    assert remote.asked == once


def test_writing_to_what_was_read_changes_neither_the_leaf_nor_another_reader(leaf: Leaf) -> None:
    data = datasets(leaf)[""]
    data.documents[0, 0] = 7
    assert data.documents[0, 0] == 7
    np.testing.assert_array_equal(datasets(leaf)[""].documents, vectors(ROWS))


def test_a_whole_array_is_held_once_while_it_is_read(tmp_path: Path) -> None:
    layout, rows = Layout(tmp_path), 20_000
    with commit_leaf(layout, (schema := Schema("large", ("model", "dataset"), {
        "documents": Field(("document", "dimension"), "float16", "vectors", rows="document")
    })), CELL) as writer:  # fmt: skip
        writer.write("documents", np.zeros((rows, 384), np.float16))
    data = datasets(open_leaf(layout.leaf("large", CELL), schema))[""].documents
    tracemalloc.start()
    try:
        values = data.values
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Beside the array: one inner chunk, and what xarray itself takes.
    assert peak < values.nbytes + (1 << 20)
    assert np.shares_memory(values, data.values)


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_dask_reads_by_chunks_wherever_it_runs(leaf: Leaf, scheduler: str) -> None:
    data = datasets(leaf)[""].documents
    chunked = data.chunk(document=data.encoding["shards"][0])
    assert isinstance(chunked.data, dask.array.Array)
    assert chunked.chunks == ((128, 128, 44), (16,))
    with dask.config.set(scheduler=scheduler):
        np.testing.assert_array_equal(chunked[100:270, ::3].compute(), vectors(ROWS)[100:270, ::3])
        assert float(chunked.astype("f8").sum()) == pytest.approx(vectors(ROWS).astype("f8").sum())


def test_a_dataset_travels_by_pickle(leaf: Leaf) -> None:
    data = datasets(leaf)[""]
    again = pickle.loads(pickle.dumps(data.isel(document=slice(5, 9))))
    xr.testing.assert_identical(again, data.isel(document=slice(5, 9)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(bytes([file.read_bytes()[9] ^ 1, *file.read_bytes()[1:]])),
        lambda file: file.write_bytes((file.parent / "c.1.0").read_bytes()),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
    ],
    ids=["flipped", "swapped", "cut"],
)
@pytest.mark.parametrize(
    "index", [{}, {"document": slice(0, 3)}, {"document": [0, 7]}, {"dimension": 2}, {"document": 5}]
)
def test_damage_raises_whatever_is_asked_for(leaf: Leaf, damage: Any, index: dict[str, Any]) -> None:
    data = datasets(leaf)[""]
    damage(Path(leaf.source.label) / "documents/c.0.0")
    with pytest.raises(DamagedArtifact, match=r"documents/c\.0\.0 is damaged"):
        _ = data.documents.isel(index).values
    with pytest.raises(DamagedArtifact, match=r"documents/c\.0\.0 is damaged"):
        data.documents.chunk(document=128).isel(index).compute(scheduler="sync")


def test_attributes_are_what_any_file_format_holds() -> None:
    assert plain(
        {
            "text": "a",
            "number": 5,
            "share": 0.5,
            "yes": True,
            "labels": ["pq", "opq"],
            "none": [],
            "bits": [64, 128],
            "nested": {"b": 1, "a": [True]},
            "mixed": [1, "a"],
            "null": None,
        }
    ) == {
        "text": "a",
        "number": 5,
        "share": 0.5,
        "yes": 1,
        "labels": "pq opq",
        "none": "",
        "bits": [64, 128],
        "nested": '{"a": [true], "b": 1}',
        "mixed": '[1, "a"]',
        "null": "null",
    }


def test_vectors_and_judgements_are_written_as_netcdf_and_read_back(leaf: Leaf, tmp_path: Path) -> None:
    commit_judgements(Layout(tmp_path), documents=ROWS, queries=10)
    judgements = open_leaf(tmp_path / "lake.zarr/judgements/d", JUDGEMENTS)
    for name, data in (("vectors", datasets(leaf)[""]), ("judged", datasets(judgements)[""])):
        data.to_netcdf(tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as again:
            xr.testing.assert_equal(again, data)
            assert again.attrs == data.attrs
            assert again.attrs.get("encoder", '{"name": "tiny"}') == '{"name": "tiny"}'
