from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import xarray as xr

from analysis.relation.points import PointGrid, RelationSettings, defect
from store.errors import InvalidInput

NUMBER = np.arange(8.0).reshape(4, 2)


def dataset(
    features: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] = MappingProxyType({}),
    **coords: Any,
) -> xr.Dataset:
    """Two models, two datasets, two lengths, in an order that is not sorted."""
    named = {"feature": {"mean_cosine": NUMBER} if features is None else features}
    named["target"] = {"recall@10": 10 * NUMBER} if targets is None else targets
    found = {
        name: (
            ("cell", "bits")[: np.ndim(values)],
            values,
            {"role": role} | ({"source": sources[name]} if name in sources else {}),
        )
        for role, columns in named.items()
        for name, values in columns.items()
    }
    labels = {
        "model": ("cell", ["b", "b", "a", "a"]),
        "dataset": ("cell", ["y", "x", "y", "x"]),
        "bits": [128, 64],
    }
    return xr.Dataset(found, coords={**labels, **coords})


SETTINGS = RelationSettings(
    permutations=100,
    bootstrap_draws=99,
    bootstrap_weights="rademacher",
    seed=0,
    penalties=(0.1,),
    confidence=0.95,
)


def test_grid_sorts_cells_and_bits() -> None:
    grid = PointGrid.of(dataset())
    assert grid.cells == (("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"))
    assert grid.bits.tolist() == [64, 128]
    assert grid.features["mean_cosine"].tolist() == [[7, 6], [5, 4], [3, 2], [1, 0]]
    assert grid.targets["recall@10"][1].tolist() == [50, 40]
    assert grid.features["log2_bits"].tolist() == [[6, 7]] * 4
    assert grid.models.tolist() == [0, 0, 1, 1]
    assert grid.datasets.tolist() == [0, 1, 0, 1]
    assert grid.counts == {"cells": 4, "models": 2, "datasets": 2}
    assert grid.too_small() == ""


def test_the_grid_does_not_depend_on_the_order_of_dimensions_or_points() -> None:
    points = dataset(features={"mean_cosine": NUMBER, "of_cell": NUMBER[:, 0]})
    grid = PointGrid.of(points)
    assert grid.features["of_cell"].tolist() == [[6, 6], [4, 4], [2, 2], [0, 0]]
    other = PointGrid.of(points.isel(cell=[2, 0, 3, 1], bits=[1, 0]).transpose("bits", "cell"))
    assert (other.cells, other.bits.tolist()) == (grid.cells, grid.bits.tolist())
    for name, values in {**grid.features, **grid.targets}.items():
        np.testing.assert_array_equal({**other.features, **other.targets}[name], values)


def test_given_log2_bits_must_be_right() -> None:
    right = np.tile(np.log2([128, 64]), (4, 1))
    assert PointGrid.of(dataset(features={"log2_bits": right})).features["log2_bits"][0].tolist() == [6, 7]
    with pytest.raises(InvalidInput, match=r"features\.log2_bits: differs from log2 of bits; leave it out"):
        PointGrid.of(dataset(features={"log2_bits": np.tile(np.log10([128, 64]), (4, 1))}))


def test_small_studies_are_named() -> None:
    one = dataset(features={"f": NUMBER}, targets={"t": NUMBER}).isel(cell=[0], bits=[0])
    assert PointGrid.of(one).too_small() == (
        "not enough cells: 1, needs 3; not enough models: 1, needs 2; not enough datasets: 1, needs 2"
    )


def test_features_of_the_targets_source_are_its_own() -> None:
    points = dataset(
        features={"slope_recall": NUMBER, "slope_ndcg": NUMBER, "mean_cosine": NUMBER},
        targets={"recall@10": NUMBER, "retention@10": NUMBER, "bfi": NUMBER},
        sources={
            "slope_recall": "recall@10", "slope_ndcg": "ndcg@10",
            "recall@10": "recall@10", "retention@10": "recall@10", "bfi": "ndcg@10",
        },
    )  # fmt: skip
    grid = PointGrid.of(points)
    own = {(f, t) for f in grid.features for t in grid.targets if grid.own(f, t)}
    assert own == {("slope_recall", "recall@10"), ("slope_recall", "retention@10"), ("slope_ndcg", "bfi")}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (dataset().isel(cell=[]), "points: the table has no rows"),
        (dataset().isel(bits=[]), "points: the table has no rows"),
        (dataset(targets={}), "targets: none given; name at least one"),
        (
            dataset().assign(f=(("cell", "seed"), np.zeros((4, 3)), {"role": "feature"})),
            r"features\.f: dimensions \('cell', 'seed'\), expected some of \('cell', 'bits'\)",
        ),
        (dataset().assign(f=("cell", np.zeros(4))), "f: role is None; give feature or target"),
        (dataset(bits=[0, 1]), "bits: 0 is not a code length"),
        (dataset(targets={"log2_bits": NUMBER}), "targets: 'log2_bits' is also a feature; rename"),
        (dataset(bits=[64, 64]), "points: a/x has two points at 64 bits; keep one"),
        (dataset(dataset=("cell", ["x", "y", "x", "x"])), "points: a/x has two points at 128 bits; keep one"),
        (
            dataset(features={"slope_recall": NUMBER}),
            "sources: 'slope_recall' has no entry; name the measure",
        ),
        (
            dataset(features={"slope_r": NUMBER}, sources={"slope_r": "recall@10"}),
            "sources: 'recall@10' has no entry; name the measure",
        ),
    ],
)
def test_bad_points_are_refused(points: xr.Dataset, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PointGrid.of(points)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("permutations", 0, "permutations: 0 is too few; give at least 1"),
        ("bootstrap_draws", -3, "bootstrap_draws: -3 is too few"),
        ("bootstrap_weights", "normal", "bootstrap_weights: 'normal' is unknown; give rademacher or webb"),
        ("seed", -1, r"seed: -1 is outside 0 to 2\*\*32 - 1"),
        ("penalties", (), r"penalties: \(\) must be one or more positive numbers"),
        ("penalties", (0.1, 0.0), r"penalties: \(0.1, 0.0\) must be one or more positive numbers"),
        ("penalties", (float("nan"),), "penalties: .nan,. must be one or more positive"),
        ("confidence", 95, "confidence: 95 must lie between 0 and 1, for example 0.95"),
    ],
)
def test_bad_settings_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        dataclasses.replace(SETTINGS, **{field: value})


def test_defects_are_named() -> None:
    assert defect("f", np.array([1.0, 2.0])) == ""
    assert defect("f", np.array([[1.0, np.nan], [np.inf, 2.0]])) == "f is not finite at 2 of 4 points"
    assert defect("f", np.zeros(3)) == "f is constant"
    assert defect("f", 0.1 + np.array([0.0, 1e-17, -2e-17], np.float64)) == "f is constant"
    assert defect("f", np.array([0.0, 1e-9, 2e-9])) == ""
