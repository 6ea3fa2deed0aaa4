"""Reading a lake: one collection a question over all codecs, checked, lazy, and plain about what is not there."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from store import open_lake
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.configuration import columns_of
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.neighbours import BINARY_NEIGHBOURS, RESCORED_NEIGHBOURS
from store.artifacts.quality import QUALITY
from store.errors import DamagedArtifact, MissingArtifact
from store.lake import Lake
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.origin import Origin
from store.leaf.reading import open_leaf
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, describe_embeddings, vectors
from tests.store.whole_lakes import (
    BINARY,
    EXACT,
    KS,
    QUANTIZED,
    QUERIES,
    RANKS,
    RESCORED,
    SEARCHED,
    commit_whole_lake,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    commit_whole_lake(layout)
    return layout


@pytest.fixture
def lake(layout: Layout) -> Lake:
    found: Lake = open_lake(layout.root)
    return found


def test_neighbours_of_every_search_lie_side_by_side(lake: Lake, layout: Layout) -> None:
    data = lake.neighbours.sel(**CELL)
    every = (*EXACT, *BINARY, *QUANTIZED, *SEARCHED, *RESCORED)
    assert data.rows.sizes == {"configuration": len(every), "query": QUERIES, "rank": RANKS}
    assert data.codec.values.tolist() == [each.codec for each in every]
    binary = open_leaf(layout.leaf("binary_neighbours", CELL), BINARY_NEIGHBOURS)
    part = data.isel(configuration=slice(1, 1 + len(BINARY)))
    np.testing.assert_array_equal(part.rows, binary.read("rows"))
    np.testing.assert_array_equal(part.scores, binary.read("scores"))
    assert data.scores.dtype == np.float64
    np.testing.assert_array_equal(part.tied, binary.read("tied"))
    assert (data.tied[0] == -1).all()
    assert (data.judged_distance[-len(RESCORED) :] == -1).all()
    rescored = data.isel(configuration=slice(-len(RESCORED), None))
    kept = RANKS - 2
    np.testing.assert_array_equal(
        rescored.scores[..., :kept],
        open_leaf(layout.leaf("rescored_neighbours", CELL), RESCORED_NEIGHBOURS).read("scores"),
    )
    assert np.isnan(rescored.scores[..., kept:]).all()
    assert (rescored.rows[..., kept:] == -1).all()
    assert data.attrs["undertrained"] == "pq opq"


def test_quality_of_every_search_lies_side_by_side_and_what_was_not_measured_is_nan(
    lake: Lake, layout: Layout
) -> None:
    data = lake.quality.sel(**CELL)
    core = len(EXACT) + len(BINARY) + len(QUANTIZED)
    assert data.value.dims == ("configuration", "metric", "k", "query")
    assert data.sizes["configuration"] == core + len(SEARCHED) + len(RESCORED)
    assert data.k.values.tolist() == list(KS)
    leaf = open_leaf(layout.leaf("quality", CELL), QUALITY)
    np.testing.assert_array_equal(data.value[:core], leaf.read("value"))
    rescored = data.isel(configuration=data.rescore.values == "int8").value
    assert np.isfinite(rescored.sel(k=KS[1])).all()
    assert np.isnan(rescored.sel(k=[KS[0], KS[2]])).all()
    np.testing.assert_array_equal(data.tie_cut[:core], leaf.read("tie_cut"))
    assert not data.tie_cut[data.rescore.values == "int8"].any()
    assert np.isnan(data.expected_recall[data.rescore.values == "int8"]).all()
    assert set(data.attrs["undertrained"].split()) == {"pq", "opq"}


def test_stacked_collections_stay_lazy_and_travel(lake: Lake, layout: Layout) -> None:
    data = lake.quality.sel(**CELL)
    again = pickle.loads(pickle.dumps(data))
    chosen = data.isel(configuration=[20, 0, 3], k=[2, 0], query=slice(None, None, -2))
    loaded = again.load().isel(configuration=[20, 0, 3], k=[2, 0], query=slice(None, None, -2))
    xr.testing.assert_identical(chosen, loaded)
    shutil.rmtree(layout.leaf("exact_neighbours", CELL) / "scores")
    with pytest.raises(DamagedArtifact):
        lake.neighbours.sel(**CELL)


def test_leaves_that_differ_in_a_dimension_without_labels_are_refused(lake: Lake, layout: Layout) -> None:
    with commit_leaf(layout, BINARY_NEIGHBOURS, CELL) as leaf:
        for name, values in columns_of(BINARY[:1]).items():
            leaf.write(name, values)
        for name in ("rows", "scores"):
            leaf.write(name, np.zeros((1, QUERIES + 1, 6), np.int32))
        for name in ("closer", "tied"):
            leaf.write(name, np.zeros((1, QUERIES + 1, 1), np.int32))
        leaf.write("k", np.array([1], np.int32))
        leaf.write("judged_distance", np.zeros((1, QUERIES), np.int32))
        leaf.describe(**CELL, undertrained=[])
    with pytest.raises(
        DamagedArtifact, match=r"query: artifacts of one cell differ, 10 in .*, 11 in .*; run"
    ):
        lake.neighbours.sel(**CELL)


# A leaf and its path, and the leaves it is read with


@pytest.mark.parametrize(
    "name",
    ["embeddings", "geometry", "quality", "binary_codes", "exact_neighbours", "predicted_quality"],
)
def test_a_leaf_of_another_cell_is_never_read_as_this_one(lake: Lake, layout: Layout, name: str) -> None:
    place = layout.leaf(name, {**CELL, "model": "other"})
    place.parent.mkdir(parents=True)
    layout.leaf(name, CELL).rename(place)
    named = {
        "binary_codes": lake.codes,
        "exact_neighbours": lake.neighbours,
        "predicted_quality": lake.predictions,
    }
    collection = named.get(name) or getattr(lake, name)
    with pytest.raises(
        DamagedArtifact, match=rf"{name}/other/d: holds {name} of model 'm'.*expected those of model 'other'"
    ):
        collection.sel(model="other", dataset="d")


def test_judgements_of_another_dataset_are_never_read_as_these(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_judgements(layout, 100, 10, dataset="other")
    layout.leaf("judgements", {"dataset": "other"}).rename(layout.leaf("judgements", {"dataset": "d"}))
    commit_embeddings(layout)
    for collection, keys in (
        (open_lake(tmp_path).judgements, {"dataset": "d"}),
        (open_lake(tmp_path).embeddings, CELL),
    ):
        with pytest.raises(DamagedArtifact, match=r"judgements/d: holds judgements of dataset 'other'"):
            collection.sel(**keys)


def commit_binary_codes(layout: Layout, model: str, corpora: dict[str, str]) -> None:
    with commit_leaf(layout, BINARY_CODES, {**CELL, "model": model}) as leaf:
        leaf.write("phase1/documents", np.zeros((1, 100, 4), np.uint8))
        leaf.write("phase1/queries", np.zeros((1, 10, 4), np.uint8))
        leaf.write("phase1/seed", np.zeros(1, np.int32))
        leaf.describe_group("phase1", bits=[32])
        leaf.describe(**{**CELL, "model": model}, fit_rows=0)
        leaf.origin = Origin(corpora)


def test_leaves_of_another_corpus_than_the_ids_of_their_rows_are_refused(layout: Layout, lake: Lake) -> None:
    """As after `dvc repro -s corpus@d` with another seed."""
    with commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(100))
        leaf.write("queries", vectors(10))
        describe_embeddings(leaf)
        leaf.describe(corpus_digest="1" * 64)
    commit_binary_codes(layout, "m", {"d": "1" * 64})
    for name, collection in (("embeddings", lake.embeddings), ("binary_codes", lake.codes)):
        with pytest.raises(
            DamagedArtifact,
            match=rf"^lake\.zarr/{name}/m/d: is of another corpus d than lake\.zarr/judgements/d; `lake verify` says",
        ):
            collection.sel(**CELL)
    shutil.rmtree(layout.leaf("judgements", {"dataset": "d"}))
    # Without the ids nothing says which of them is another one.
    lake.codes.sel(**CELL)


def test_cells_of_two_versions_of_a_dataset_are_not_read_side_by_side(layout: Layout, lake: Lake) -> None:
    shutil.rmtree(layout.leaf("judgements", {"dataset": "d"}))
    commit_binary_codes(layout, "m", {"d": "1" * 64})
    commit_binary_codes(layout, "other", {"d": "2" * 64})
    for model in ("m", "other"):
        lake.codes.sel(model=model, dataset="d")
    with pytest.raises(DamagedArtifact, match=r"binary_codes/other/d: is of another corpus d than lake"):
        lake.codes.sel(dataset="d")


def test_vectors_without_judgements_say_where_their_ids_are(layout: Layout, lake: Lake) -> None:
    assert "missing" not in lake.embeddings.sel(**CELL).attrs
    shutil.rmtree(layout.leaf("judgements", {"dataset": "d"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = lake.embeddings.sel(**CELL)
        np.testing.assert_array_equal(data.documents, vectors(100))
    assert not data.coords
    assert data.attrs["missing"] == (
        "document_id and query_id: lake.zarr/judgements/d is not here; run `dvc pull lake.zarr/judgements/d`"
    )


# Files of other formats, and empty folders


def test_what_the_collections_give_is_written_as_netcdf(lake: Lake, tmp_path: Path) -> None:
    cells = {
        "embeddings": lake.embeddings.sel(**CELL),
        "judgements": lake.judgements.sel(dataset="d"),
        "geometry": lake.geometry.sel(**CELL),
        "predictions": lake.predictions.sel(**CELL),
        "neighbours": lake.neighbours.sel(**CELL),
        "quality": lake.quality.sel(**CELL),
    }
    for name, data in cells.items():
        data.to_netcdf(tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as again:
            xr.testing.assert_equal(again.load(), data)
    assert json.loads(cells["embeddings"].attrs["encoder"]) == {"name": "tiny"}


def test_empty_folders_of_a_graph_neither_warn_nor_fail(layout: Layout, lake: Lake) -> None:
    for name in ("embeddings/m/later", "embeddings/later/d", "quality/later/d", "judgements/later"):
        (layout.lake / name).mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_lake(layout.root)
        assert found.embeddings.cells() == [CELL]
        assert found.embeddings.sel(**CELL).sizes["document"] == 100
        assert set(found.quality.sel(dataset="d").children) == {"m"}
        with pytest.raises(MissingArtifact, match=r"embeddings: no leaf for \{'model': 'later'.*; here: m/d"):
            found.embeddings.sel(model="later", dataset="d")
        # What docs/lake.md says of reading without this project.
        raw = xr.open_zarr(layout.leaf("embeddings", CELL), consolidated=False)
        assert raw.sizes["document"] == 100
    with pytest.warns(UserWarning, match="Object at .*later is not recognized"):
        tree = xr.open_datatree(layout.lake, engine="zarr", consolidated=False, chunks=None)
    np.testing.assert_array_equal(tree["embeddings/m/d"].documents, vectors(100))


def test_what_the_raw_way_does_not_see_is_seen_by_the_lake(layout: Layout, lake: Lake) -> None:
    (layout.leaf("embeddings", CELL) / "documents/c.0.0").unlink()
    raw = xr.open_zarr(layout.leaf("embeddings", CELL), consolidated=False)
    assert np.isnan(raw.documents.values).all()
    with pytest.raises(DamagedArtifact, match=r"chunk c\.0\.0 is missing"):
        lake.embeddings.sel(**CELL)
