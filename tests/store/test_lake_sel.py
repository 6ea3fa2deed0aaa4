"""``sel`` is xarray's on every collection, or one line that names the label; never another answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from store import open_lake
from store.errors import BitlakeError, InvalidInput, MissingArtifact
from store.lake import Lake
from store.layout import Layout
from tests.counts import count
from tests.store.lakes import CELL
from tests.store.whole_lakes import ROWS, SEEDS, commit_whole_lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    layout = Layout(tmp_path_factory.mktemp("sel"))
    commit_whole_lake(layout)
    commit_whole_lake(layout, "n", seed=1)
    found: Lake = open_lake(layout.root)
    return found


Sel = Callable[..., xr.Dataset]
WHOLE: dict[str, Callable[[Lake], Sel]] = {
    "embeddings": lambda lake: lambda **labels: lake.embeddings.sel(**CELL, **labels),
    "judgements": lambda lake: lambda **labels: lake.judgements.sel(dataset="d", **labels),
    "geometry": lambda lake: lambda **labels: lake.geometry.sel(**CELL, **labels),
    "predictions": lambda lake: lambda **labels: lake.predictions.sel(**CELL, **labels),
    "neighbours": lambda lake: lambda **labels: lake.neighbours.sel(**CELL, **labels),
    "quality": lambda lake: lambda **labels: lake.quality.sel(**CELL, **labels),
    "codes": lambda lake: lambda **labels: lake.codes.sel(**CELL, codec="phase1", bits=128, **labels),
}
ANY: tuple[Any, ...] = (
    None, True, "64", "", "nothing", -1, 64, 64.0, 64.5, np.int64(1), np.float32(5), np.str_("recall"), np.nan, 1e30,
    b"x", (), [], [1], ["recall"], [5, 1], [1, "recall"], [None], [[1]], [1, 1], np.array([10, 1]), np.array(["ndcg"]),
    [True], slice(None), slice(1, 5), slice("a", "z"), slice(5, 1),
    slice(0, 3, 2), slice("mean", None), {"a": 1}, object(),
)  # fmt: skip
"""Labels of every kind that a person or a program might give."""


def dims_of(data: xr.Dataset) -> list[str]:
    return sorted(map(str, data.sizes.keys() - {"configuration"}))


@given(data=st.data())
@settings(max_examples=count(full=3000, quick=40), deadline=None)
def test_dimensions_are_selected_as_xarray_does_on_the_loaded_dataset(
    lake: Lake, data: st.DataObject
) -> None:
    sel = WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))](lake)
    loaded = sel().load()
    labels: dict[str, Any] = {}
    for name in data.draw(st.lists(st.sampled_from(dims_of(loaded)), min_size=1, max_size=2, unique=True)):
        known = loaded[name].values.tolist()
        label = st.sampled_from(known)
        labels[name] = data.draw(
            st.one_of(
                label,
                st.lists(label, max_size=4),
                st.lists(label, max_size=4).map(np.array),
                st.tuples(label, label).map(lambda ends: slice(*ends)),
                st.sampled_from(ANY),
            )
        )
    try:
        expected = loaded.sel(labels)
    except Exception:
        with pytest.raises(InvalidInput, match=r"^sel: ") as raised:
            sel(**labels)
        assert "\n" not in str(raised.value)
        return
    xr.testing.assert_identical(sel(**labels).load(), expected)


COLUMNS = ("codec", "bits", "seed", "oversample", "rescore")


@given(data=st.data())
@settings(max_examples=count(full=3000, quick=40), deadline=None)
def test_configurations_are_selected_by_their_columns_in_the_order_asked_for(
    lake: Lake, data: st.DataObject
) -> None:
    """Against a plain loop over the loaded configurations."""
    name = data.draw(st.sampled_from(["neighbours", "quality"]))
    loaded = WHOLE[name](lake)().load()
    columns = [loaded[column].values.tolist() for column in COLUMNS]
    rows: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    labels: dict[str, Any] = {}
    for column in data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3, unique=True)):
        label = st.sampled_from(sorted({row[column] for row in rows}))
        labels[column] = data.draw(st.one_of(label, st.lists(label, max_size=3, unique=True)))
    chosen = [
        at
        for wanted in _product(labels)
        for at, row in enumerate(rows)
        if all(row[column] == label for column, label in wanted.items())
    ]
    lists = {column: value for column, value in labels.items() if isinstance(value, list)}
    met = all(
        any(rows[at][column] == label for at in chosen)
        for column, value in labels.items()
        for label in (value if column in lists else [value])
    )
    if not met:
        with pytest.raises(InvalidInput, match=r"^sel: .* is not here together with "):
            WHOLE[name](lake)(**labels)
        return
    found = WHOLE[name](lake)(**labels).load()
    at: Any = chosen[0] if len(chosen) == 1 and not lists else chosen
    xr.testing.assert_identical(found, loaded.isel(configuration=at))


def _product(labels: dict[str, Any]) -> list[dict[str, Any]]:
    choices: list[dict[str, Any]] = [{}]
    for column, value in labels.items():
        options = value if isinstance(value, list) else [value]
        choices = [{**choice, column: option} for choice in choices for option in options]
    return choices


@pytest.mark.parametrize(
    ("collection", "name"),
    [
        ("embeddings", "model"),
        ("embeddings", "document"),
        ("judgements", "dataset"),
        ("codes", "codec"),
        ("codes", "bits"),
        ("codes", "seed"),
        ("neighbours", "codec"),
        ("neighbours", "bits"),
        ("neighbours", "rank"),
        ("geometry", "measure"),
        ("predictions", "bits"),
        ("predictions", "oversample"),
        ("quality", "k"),
        ("quality", "metric"),
    ],
)
def test_whatever_is_given_the_answer_is_labelled_or_one_line(lake: Lake, collection: str, name: str) -> None:
    found = getattr(lake, collection)
    cell = {key: CELL[key] for key in found.keys}
    codec = {"codec": "phase1"} if collection == "codes" else {}
    for value in ANY:
        labels = {**cell, **codec, name: value}
        try:
            answer = found.sel(**labels)
        except BitlakeError as error:
            assert "\n" not in str(error), labels  # noqa: PT017
        else:
            assert isinstance(answer, xr.Dataset | xr.DataTree), labels


def test_seeds_in_any_order_and_a_single_one(lake: Lake) -> None:
    codes = WHOLE["codes"](lake)
    backwards = codes(seed=[4, 3, 2, 1, 0])
    assert backwards.seed.values.tolist() == [4, 3, 2, 1, 0]
    np.testing.assert_array_equal(backwards.documents, codes().documents[::-1])
    np.testing.assert_array_equal(codes(seed=np.int64(3)).documents, codes().documents[3])
    searched = lake.neighbours.sel(**CELL, codec="phase1", bits=64.0, seed=[4, 3, 2, 1, 0], rescore="")
    assert searched.seed.values.tolist() == [4, 3, 2, 1, 0]
    assert lake.neighbours.sel(**CELL, codec="phase1", bits=128, seed=2).rows.dims == ("query", "rank")
    assert lake.neighbours.sel(**CELL, codec="phase1", bits=128, seed=[2]).rows.dims[0] == "configuration"


def test_several_lengths(lake: Lake) -> None:
    found = lake.quality.sel(**CELL, codec="phase1", rescore="", bits=[128, 64])
    assert found.bits.values.tolist() == [128] * len(SEEDS) + [64] * len(SEEDS)
    between = lake.quality.sel(**CELL, codec="phase1", rescore="", bits=slice(100, 256), seed=0)
    assert between.bits.values.tolist() == [128, 256]
    for bits in (64, 64.0, np.int32(64), np.float64(64), np.array(64)):
        assert lake.codes.sel(**CELL, codec="phase1", bits=bits).documents.shape == (len(SEEDS), ROWS, 8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"codec": "phase1", "bits": "64"}, "sel: bits '64' is no whole number of bits"),
        ({"codec": "phase1", "bits": 64.5}, "sel: bits 64.5 is no whole number of bits"),
        ({"codec": "phase1", "bits": True}, "sel: bits True is no whole number of bits"),
        (
            {"codec": "phase1", "bits": [64, 128]},
            "sel: bits .64, 128.: codes of several have no common shape",
        ),
        ({"codec": "phase1", "bits": slice(64, 128)}, "codes of several have no common shape"),
        ({"codec": ["phase1", "pq"]}, "sel: codec .'phase1', 'pq'.: codes of several have no common shape"),
        ({"codec": "pq", "bits": 32}, "sel: bits 32 is not stored for pq; there are 64, 128"),
        ({"codec": "pq"}, "sel: bits is not given for pq; there are 64, 128"),
        ({"codec": "phase1", "seed": 9}, "sel: seed 9 is not here; there are 0, 1, 2, 3, 4"),
        ({"codec": "phase1", "seed": [1, 9]}, r"sel: seed \[1, 9\] is not here; there are 0, 1, 2, 3, 4"),
        ({"codec": "phase2"}, "sel: codec 'phase2' is not here; there are int8, phase1, pq"),
        ({"bits": 64}, "sel: bits can only be given together with codec"),
        ({"codec": "phase1", "metric": "recall"}, "sel: 'metric' is neither a key nor a coordinate"),
    ],
)
def test_labels_of_codes_that_cannot_be_had_are_named(
    lake: Lake, labels: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        lake.codes.sel(**CELL, **labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"bits": 65}, "sel: bits 65 is not here; there are 64, 128, 256, 512"),
        ({"bits": "64"}, "sel: bits '64' is not here"),
        ({"bits": [64, 65]}, "sel: bits 65 is not here"),
        (
            {"codec": "pq", "bits": 256},
            "sel: .* is not here together with ",
        ),
        ({"codec": slice("a", "z")}, "sel: codec slice.* is no range of numbers"),
        ({"configuration": 1, "rows": 2}, "sel: 'rows' is neither a key nor a coordinate"),
    ],
)
def test_labels_of_configurations_that_are_not_there_are_named(
    lake: Lake, labels: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        lake.neighbours.sel(**CELL, **labels)


def test_ids_say_how_they_can_be_selected(lake: Lake) -> None:
    with pytest.raises(InvalidInput, match=r"'document_id' has no index here; use `data\.set_xindex"):
        lake.embeddings.sel(**CELL, document_id="document-3")
    found = lake.embeddings.sel(**CELL).set_xindex("document_id").sel(document_id="document-3")
    np.testing.assert_array_equal(found.documents, lake.embeddings.sel(**CELL).documents[3])


def children(tree: xr.DataTree) -> Sequence[str]:
    return list(tree.children)


def test_lists_of_keys_give_a_tree_in_their_order(lake: Lake) -> None:
    assert children(lake.geometry.sel(model=["n", "m"], dataset="d")) == ["n", "m"]
    assert children(lake.geometry.sel(model=["n"])) == ["n"]
    assert children(lake.geometry.sel()) == ["m", "n"]
    assert isinstance(lake.geometry.sel(model=np.str_("n"), dataset=np.array("d")), xr.Dataset)
    measured = lake.geometry.sel(model=["n", "m"], measure="hubness")
    assert measured["n/d"].value.shape == ()
    for model in ("x", ["m", "x"], 5, None):
        with pytest.raises(MissingArtifact, match=r"geometry: no leaf for .*; here: m/d, n/d"):
            lake.geometry.sel(model=model)
    for wrong in (slice("m", "n"), ["m", "m"]):
        with pytest.raises(InvalidInput, match="sel: model "):
            lake.geometry.sel(model=wrong)


def test_one_cell_of_another_model_is_read_from_its_own_leaf(lake: Lake, tmp_path: Path) -> None:
    one, other = (lake.quality.sel(model=model, dataset="d").value for model in ("m", "n"))
    assert not np.array_equal(one, other)
