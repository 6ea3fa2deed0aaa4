"""Figures of a study from per-query values, against means taken by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.quality.results import (
    COLUMNS,
    UNDERTRAINED,
    CellQuality,
    Gap,
    csv_text,
    cube,
    figures_of,
    gap_rows,
    headline,
    is_plain,
    over_seeds,
    summarise,
    table,
)
from store.artifacts.configuration import Configuration

METRICS = ("recall", "ndcg", "mrr", "overlap")
KS = (1, 10)


def configuration(codec: str, size: int, seed: int = -1) -> Configuration:
    return Configuration(codec, "", "hamming", 8 * size, size, seed=seed)


def cell(
    model: str = "m", dataset: str = "d", seed: int = 0, queries: int = 50, level: float = 0.5
) -> CellQuality:
    configurations = [
        configuration("phase1", 8, 0),
        configuration("pq", 8, 0),
        configuration("phase1", 8, 1),
        configuration("float32", 64),
    ]
    random = np.random.RandomState(seed)
    value = (random.uniform(size=(4, len(METRICS), len(KS), queries)) < level).astype(np.float32)
    expected = np.full((4, len(KS), queries), np.nan, np.float32)
    expected[[0, 2]] = 0.25
    cut = np.zeros(expected.shape, np.bool_)
    cut[0] = True
    return CellQuality(model, dataset, configurations, METRICS, KS, value, expected, cut, frozenset({"pq"}))


SETTINGS: dict[str, Any] = {"draws": 1000, "seed": 0, "confidence": 0.95}


def test_seeds_are_averaged_and_their_spread_is_a_column_of_its_own() -> None:
    one = cell()
    summaries = {s.configuration.codec: s for s in summarise(one, **SETTINGS)}
    per_seed = one.value[[0, 2]].mean(axis=-1, dtype=np.float64)
    np.testing.assert_allclose(summaries["phase1"].value, per_seed.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(summaries["phase1"].seed_sd, per_seed.std(axis=0, ddof=1), atol=1e-12)
    assert summaries["phase1"].n_seeds == 2
    assert np.isnan(summaries["pq"].seed_sd).all()
    assert (summaries["phase1"].low <= summaries["phase1"].value).all()
    assert (summaries["phase1"].value <= summaries["phase1"].high).all()


def test_ties_are_averaged_over_seeds_and_queries() -> None:
    summaries = {s.configuration.codec: s for s in summarise(cell(), **SETTINGS)}
    np.testing.assert_allclose(summaries["phase1"].expected_recall, 0.25)
    np.testing.assert_allclose(summaries["phase1"].tie_share, 0.5)
    assert np.isnan(summaries["float32"].expected_recall).all()


def test_only_undertrained_codecs_are_flagged() -> None:
    flags = {s.configuration.codec: s.flags for s in summarise(cell(), **SETTINGS)}
    assert flags == {"float32": "", "phase1": "", "pq": UNDERTRAINED}


def test_the_table_has_one_row_per_configuration_metric_and_k() -> None:
    cells = [cell(), cell(dataset="e", seed=1)]
    summaries = [s for one in cells for s in summarise(one, **SETTINGS)]
    rows = table(summaries)
    assert len(rows) == 2 * 3 * len(METRICS) * len(KS)
    assert all(tuple(row) == COLUMNS for row in rows)
    (row,) = [r for r in rows if (r["dataset"], r["codec"], r["metric"], r["k"]) == ("e", "pq", "mrr", 10)]
    assert row["value"] == pytest.approx(cells[1].value[1, 2, 1].mean())
    assert row["n_queries"] == 50


def test_the_cube_holds_the_table_and_nan_elsewhere() -> None:
    cells = [cell(), cell(model="n", seed=1)]
    summaries = [s for one in cells for s in summarise(one, **SETTINGS)]
    arrays = cube(summaries, cells)
    assert (arrays["model"], arrays["dataset"], arrays["codec"]) == (
        ["m", "n"],
        ["d"],
        ["float32", "phase1", "pq"],
    )
    assert arrays["bits"].tolist() == [64, 512]
    expected = cells[1].value[3, 0, 1].mean()
    assert arrays["value"][1, 0, 0, 1, 0, 1] == pytest.approx(expected)
    assert np.isnan(arrays["value"][:, :, 0, 0]).all()
    assert arrays["n_seeds"].tolist() == [[0, 1], [2, 0], [1, 0]]
    assert arrays["undertrained"].tolist() == [[[False, False, True]]] * 2
    # Ties bear on recall alone.
    assert np.isnan(arrays["expected_recall"][:, :, 1, 0, 1:]).all()
    np.testing.assert_allclose(arrays["expected_recall"][:, :, 1, 0, 0], 0.25)


def beyond() -> CellQuality:
    """Asymmetric, variant and re-scored forms of what `cell` has, at one cut-off of their own."""
    plain = configuration("phase1", 8)
    forms = [
        replace(plain, scoring="asymmetric"),
        replace(plain, variant="mean"),
        replace(plain, rescore="int8", oversample=4, rescore_bytes=16),
    ]
    value = np.random.RandomState(9).uniform(size=(3, len(METRICS), 1, 50)).astype(np.float32)
    nothing = np.full((3, 1, 50), np.nan, np.float32)
    return CellQuality(
        "m", "d", forms, METRICS, (10,), value, nothing, np.zeros(nothing.shape, np.bool_), frozenset()
    )


def test_parts_of_a_cell_may_have_cutoffs_of_their_own() -> None:
    summaries = [s for one in (cell(), beyond()) for s in summarise(one, **SETTINGS)]
    rows = table(summaries)
    assert len(rows) == 3 * len(METRICS) * len(KS) + 3 * len(METRICS)
    (row,) = [r for r in rows if (r["rescore"], r["metric"]) == ("int8", "mrr")]
    assert (row["k"], row["oversample"], row["rescore_bytes"]) == (10, 4, 16)
    assert row["value"] == pytest.approx(beyond().value[2, 2, 0].mean())


def test_the_cube_and_the_headline_hold_plain_configurations_alone() -> None:
    assert [is_plain(c) for c in beyond().configurations] == [False, False, False]
    assert is_plain(configuration("phase1", 8, 0))
    one = cell()
    alone = summarise(one, **SETTINGS)
    arrays, with_more = (cube(s, [one]) for s in (alone, [*alone, *summarise(beyond(), **SETTINGS)]))
    for name, values in arrays.items():
        np.testing.assert_array_equal(with_more[name], values)


def test_csv_writes_nan_as_nothing_and_rounds() -> None:
    rows = [{"a": 1 / 3, "b": float("nan"), "c": "x,y"}, {"a": -1e-9, "b": 2, "c": ""}]
    assert csv_text(rows, ("a", "b", "c")) == 'a,b,c\n0.333333,,"x,y"\n0.0,2,\n'


NAMES = {"float32": ("float32", 0), "pq-8": ("pq", 64), "phase1-64": ("phase1", 64), "pq-64": ("pq", 512)}


def test_the_headline_is_the_mean_over_cells_and_skips_what_a_study_lacks() -> None:
    cells = [cell(), cell(dataset="e", seed=1), cell(model="n", seed=2)]
    figures = headline(cells, names=NAMES, versus=("phase1-64", "pq-8"), k=10, **SETTINGS)
    values = [over_seeds(one)[1] for one in cells]
    names = [c.codec for c in over_seeds(cells[0])[0]]
    recall = {name: np.mean([v[names.index(name), 0, 1].mean() for v in values]) for name in names}
    assert set(figures["recall_at_10"]) == {"float32", "pq-8", "phase1-64"}
    assert figures["recall_at_10"]["phase1-64"] == pytest.approx(recall["phase1"], abs=1e-6)
    contrast = figures["phase1-64_minus_pq-8"]
    assert contrast["mean"] == pytest.approx(recall["phase1"] - recall["pq"], abs=2e-6)
    assert contrast["ci_low"] < contrast["mean"] < contrast["ci_high"]
    assert (figures["cells"], figures["cells_pq_undertrained"]) == (3, 3)


def test_models_of_one_dataset_meet_the_same_draws() -> None:
    """The interval of a mean over two identical cells is that of one; over two datasets it is narrower."""
    one, same, other = cell(queries=200), cell(model="n", queries=200), cell(dataset="e", queries=200)

    def width(cells: list[CellQuality]) -> float:
        contrast = headline(cells, names=NAMES, versus=("phase1-64", "pq-8"), k=10, **SETTINGS)[
            "phase1-64_minus_pq-8"
        ]
        return float(contrast["ci_high"] - contrast["ci_low"])

    assert width([one, same]) == pytest.approx(width([one]), abs=1e-9)
    assert width([one, other]) < 0.85 * width([one])


def test_figures_without_intervals_are_those_with_them() -> None:
    one = cell(level=0.3)
    configurations, figures = figures_of(one)
    summaries = summarise(one, **SETTINGS)
    assert configurations == [s.configuration for s in summaries]
    np.testing.assert_array_equal(figures, [s.value for s in summaries])


def test_what_is_missing_has_a_place_in_the_cube_and_a_row_of_its_own() -> None:
    cells = [cell("m", "d"), cell("m", "e")]
    gaps = [Gap("m", "e", ("extended_quality",)), Gap("n", "e", ("quality", "extended_quality"))]
    summaries = [summary for one in cells for summary in summarise(one, **SETTINGS)]
    arrays = cube(summaries, cells, gaps)
    assert (arrays["model"], arrays["dataset"]) == (["m", "n"], ["d", "e"])
    assert arrays["missing"].tolist() == [["", "extended_quality"], ["", "quality extended_quality"]]
    assert np.isnan(arrays["value"][1]).all()
    assert not np.isnan(arrays["value"][0]).all()
    assert "missing" not in cube(summaries, cells)
    rows = gap_rows(gaps)
    assert [tuple(row) for row in rows] == [COLUMNS, COLUMNS]
    assert (
        csv_text(rows, COLUMNS).splitlines()[1] == f"m,e{',' * (len(COLUMNS) - 2)}missing: extended_quality"
    )
