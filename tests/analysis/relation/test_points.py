from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from analysis.relation.points import PointGrid, Points, RelationSettings, defect
from store.errors import InvalidInput


def columns(**changes: Any) -> dict[str, Any]:
    """Two models, two datasets, two lengths, in an order that is not sorted."""
    model, dataset, bits = (a.ravel() for a in np.meshgrid(["b", "a"], ["y", "x"], [128, 64], indexing="ij"))
    number = np.arange(8.0)
    return {
        "model": model, "dataset": dataset, "bits": bits,
        "features": {"mean_cosine": number}, "targets": {"recall@10": 10 * number}, **changes,
    }  # fmt: skip


SETTINGS = RelationSettings(
    permutations=100,
    bootstrap_draws=99,
    bootstrap_weights="rademacher",
    seed=0,
    penalties=(0.1,),
    confidence=0.95,
)


def test_grid_sorts_cells_and_bits() -> None:
    grid = PointGrid.of(Points(**columns()))
    assert grid.cells == (("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"))
    assert grid.bits.tolist() == [64, 128]
    assert grid.features["mean_cosine"].tolist() == [[7, 6], [5, 4], [3, 2], [1, 0]]
    assert grid.targets["recall@10"][1].tolist() == [50, 40]
    assert grid.features["log2_bits"].tolist() == [[6, 7]] * 4
    assert grid.models.tolist() == [0, 0, 1, 1]
    assert grid.datasets.tolist() == [0, 1, 0, 1]
    assert grid.counts == {"cells": 4, "models": 2, "datasets": 2}
    assert grid.too_small() == ""


def test_given_log2_bits_must_be_right() -> None:
    given = columns()
    given["features"]["log2_bits"] = np.log2(given["bits"])
    assert PointGrid.of(Points(**given)).features["log2_bits"][0].tolist() == [6, 7]
    given["features"]["log2_bits"] = np.log10(given["bits"])
    with pytest.raises(InvalidInput, match=r"features\.log2_bits: differs from log2 of bits; leave it out"):
        Points(**given)


def test_small_studies_are_named() -> None:
    one = Points(
        model=np.array(["a"]), dataset=np.array(["x"]), bits=np.array([64]),
        features={"f": np.array([1.0])}, targets={"t": np.array([1.0])},
    )  # fmt: skip
    assert PointGrid.of(one).too_small() == (
        "not enough cells: 1, needs 3; not enough models: 1, needs 2; not enough datasets: 1, needs 2"
    )


def test_features_of_the_targets_source_are_its_own() -> None:
    number = np.arange(8.0)
    points = Points(
        **columns(
            features={"slope_recall": number, "slope_ndcg": number, "mean_cosine": number},
            targets={"recall@10": number, "retention@10": number, "bfi": number},
            sources={
                "slope_recall": "recall@10", "slope_ndcg": "ndcg@10",
                "recall@10": "recall@10", "retention@10": "recall@10", "bfi": "ndcg@10",
            },
        )
    )  # fmt: skip
    grid = PointGrid.of(points)
    own = {(f, t) for f in grid.features for t in grid.targets if grid.own(f, t)}
    assert own == {("slope_recall", "recall@10"), ("slope_recall", "retention@10"), ("slope_ndcg", "bfi")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": np.array([], str)}, "points: the table has no rows"),
        ({"targets": {}}, "targets: none given; name at least one"),
        ({"bits": np.arange(1, 8)}, r"bits: shape \(7,\), expected \(8,\) as for model"),
        ({"features": {"f": np.zeros((8, 1))}}, r"features\.f: shape \(8, 1\), expected \(8,\)"),
        ({"targets": {"t": np.zeros(3)}}, r"targets\.t: shape \(3,\), expected \(8,\)"),
        ({"bits": np.array([0, 1] * 4)}, "bits: 0 is not a code length"),
        ({"targets": {"mean_cosine": np.zeros(8)}}, "targets: 'mean_cosine' is also a feature; rename"),
        ({"bits": np.full(8, 64)}, "points: b/y has two points at 64 bits; keep one"),
        (
            {"bits": np.array([128, 64] * 3 + [128, 32])},
            "points: a/x has no point at 64 bits; give all cells",
        ),
        ({"sources": {"recall": "recall@10"}}, "sources: 'recall' is neither feature nor target; rename it"),
        (
            {"features": {"slope_recall": np.zeros(8)}},
            "sources: 'slope_recall' has no entry; name the measure",
        ),
        (
            {"features": {"slope_r": np.zeros(8)}, "sources": {"slope_r": "recall@10"}},
            "sources: 'recall@10' has no entry; name the measure",
        ),
    ],
)
def test_bad_points_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Points(**columns(**changes))


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
