"""Figures of a study from per-query values, against means taken by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.quality.figures import UNDERTRAINED, figures_of, is_plain, join, over_seeds, select, summarise
from analysis.quality.results import COLUMNS, Gap, cube, headline, table
from analysis.report.tables import csv_text
from store.artifacts.configuration import Configuration
from store.errors import InvalidInput
from tests.analysis.quality.labelled_cells import labelled_cell, shuffled

METRICS = ("recall", "ndcg", "mrr", "overlap")
KS = (1, 10)


def configuration(codec: str, size: int, seed: int = -1) -> Configuration:
    return Configuration(codec, "", "hamming", 8 * size, size, seed=seed)


def cell(
    model: str = "m", dataset: str = "d", seed: int = 0, queries: int = 50, level: float = 0.5
) -> xr.Dataset:
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
    return labelled_cell(
        model,
        dataset,
        configurations,
        METRICS,
        KS,
        value,
        expected_recall=expected,
        tie_cut=cut,
        undertrained=["pq"],
    )


SETTINGS: dict[str, Any] = {"draws": 1000, "seed": 0, "confidence": 0.95}


def of_codec(figures: xr.Dataset, codec: str) -> xr.Dataset:
    """The figures of the one configuration of a codec."""
    (at,) = np.flatnonzero(figures["codec"] == codec)
    return figures.isel(configuration=int(at))


def test_seeds_are_averaged_and_their_spread_is_a_column_of_its_own() -> None:
    one = cell()
    figures = summarise(one, **SETTINGS)
    phase1 = of_codec(figures, "phase1")
    per_seed = one["value"].values[[0, 2]].mean(axis=-1, dtype=np.float64)
    np.testing.assert_allclose(phase1["value"], per_seed.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(phase1["seed_sd"], per_seed.std(axis=0, ddof=1), atol=1e-12)
    assert phase1["n_seeds"] == 2
    assert np.isnan(of_codec(figures, "pq")["seed_sd"]).all()
    assert (phase1["ci_low"] <= phase1["value"]).all()
    assert (phase1["value"] <= phase1["ci_high"]).all()


def test_ties_are_averaged_over_seeds_and_queries() -> None:
    figures = summarise(cell(), **SETTINGS)
    np.testing.assert_allclose(of_codec(figures, "phase1")["expected_recall"], 0.25)
    np.testing.assert_allclose(of_codec(figures, "phase1")["tie_share"], 0.5)
    assert np.isnan(of_codec(figures, "float32")["expected_recall"]).all()
    assert np.isnan(of_codec(figures, "float32")["tie_share"]).all()


def test_only_undertrained_codecs_are_flagged() -> None:
    rows = table([summarise(cell(), **SETTINGS)])
    flags = dict(zip(rows["codec"], rows["flags"], strict=True))
    assert flags == {"float32": "", "phase1": "", "pq": UNDERTRAINED}


def test_the_table_has_one_row_per_configuration_metric_and_k() -> None:
    cells = [cell(), cell(dataset="e", seed=1)]
    rows = table([summarise(one, **SETTINGS) for one in cells])
    assert len(rows) == 2 * 3 * len(METRICS) * len(KS)
    assert tuple(rows.columns) == COLUMNS
    chosen = (
        (rows["dataset"] == "e") & (rows["codec"] == "pq") & (rows["metric"] == "mrr") & (rows["k"] == 10)
    )
    row = rows[chosen].iloc[0]
    assert row["value"] == pytest.approx(cells[1]["value"].values[1, 2, 1].mean())
    assert row["n_queries"] == 50
    # Cells in the given order, configurations in that of their columns, metrics and cut-offs as they are defined.
    assert list(rows["dataset"]) == ["d"] * 24 + ["e"] * 24
    assert list(rows["codec"][:24]) == ["float32"] * 8 + ["phase1"] * 8 + ["pq"] * 8
    assert list(zip(rows["metric"][:8], rows["k"][:8], strict=True)) == [(m, k) for m in METRICS for k in KS]


def test_the_cube_holds_the_table_and_nan_elsewhere() -> None:
    cells = [cell(), cell(model="n", seed=1)]
    whole = cube([summarise(one, **SETTINGS) for one in cells])
    labels = {name: whole[name].values.tolist() for name in ("model", "dataset", "codec", "bits")}
    assert labels == {
        "model": ["m", "n"],
        "dataset": ["d"],
        "codec": ["float32", "phase1", "pq"],
        "bits": [64, 512],
    }
    assert whole["value"].dims == ("model", "dataset", "codec", "bits", "metric", "k")
    at = {"model": "n", "dataset": "d", "codec": "float32", "bits": 512, "metric": "recall", "k": 10}
    assert whole["value"].sel(at) == pytest.approx(cells[1]["value"].values[3, 0, 1].mean())
    assert np.isnan(whole["value"].sel(codec="float32", bits=64)).all()
    assert whole["n_seeds"].values.tolist() == [[0, 1], [2, 0], [1, 0]]
    assert whole["n_queries"].values.tolist() == [[50], [50]]
    assert whole["undertrained"].values.tolist() == [[[False, False, True]]] * 2
    # Ties bear on recall alone.
    expected = whole["expected_recall"].sel(codec="phase1", bits=64)
    assert np.isnan(expected.sel(metric=["ndcg", "mrr", "overlap"])).all()
    np.testing.assert_allclose(expected.sel(metric="recall"), 0.25)


def test_two_searches_of_one_size_have_no_place_in_the_cube() -> None:
    one = cell()
    twice = one.assign_coords(scoring=("configuration", ["hamming", "hamming", "inner-product", "hamming"]))
    with pytest.raises(InvalidInput, match="m × d: phase1 has several searches of 64 bits; give all but one"):
        cube([summarise(twice, **SETTINGS)])


def test_no_order_of_dimensions_labels_or_cells_changes_a_figure() -> None:
    cells = [cell(), cell("n", "d", seed=1), cell("m", "e", seed=2)]
    figures = [summarise(one, **SETTINGS) for one in cells]
    # Queries keep their order: it says which of them a draw takes.
    moved = [
        summarise(shuffled(one, "query", seed=seed), **SETTINGS) for seed, one in enumerate(cells, start=1)
    ]
    for one, other in zip(figures, moved, strict=True):
        xr.testing.assert_identical(one, other)
    assert csv_text(table(moved)) == csv_text(table(figures))
    key = ["model", "dataset", "codec", "metric", "k"]
    backwards = table([shuffled(one, seed=7) for one in reversed(moved)])
    pd.testing.assert_frame_equal(
        backwards.sort_values(key, ignore_index=True), table(figures).sort_values(key, ignore_index=True)
    )
    whole, turned = cube(figures), cube(moved[::-1])
    assert turned["dataset"].values.tolist() == ["e", "d"]
    xr.testing.assert_equal(turned.sel(model=whole["model"], dataset=whole["dataset"]), whole)
    names = {"names": NAMES, "versus": ("phase1-64", "pq-8"), "k": 10, **SETTINGS}
    assert headline([shuffled(one, "query") for one in cells], **names) == headline(cells, **names)


def beyond() -> xr.Dataset:
    """Asymmetric, variant and re-scored forms of what `cell` has, evaluated at one cut-off alone."""
    plain = configuration("phase1", 8)
    forms = [
        replace(plain, scoring="asymmetric"),
        replace(plain, variant="mean"),
        replace(plain, rescore="int8", oversample=4, rescore_bytes=16),
    ]
    value = np.full((3, len(METRICS), len(KS), 50), np.nan, np.float32)
    value[:, :, 1] = np.random.RandomState(9).uniform(size=(3, len(METRICS), 50))
    return labelled_cell("m", "d", forms, METRICS, KS, value)


def test_cutoffs_that_were_not_evaluated_are_absent_from_the_table() -> None:
    rows = table([summarise(join([cell(), beyond()]), **SETTINGS)])
    assert len(rows) == 3 * len(METRICS) * len(KS) + 3 * len(METRICS)
    row = rows[(rows["rescore"] == "int8") & (rows["metric"] == "mrr")].iloc[0]
    assert (row["k"], row["oversample"], row["rescore_bytes"]) == (10, 4, 16)
    assert row["value"] == pytest.approx(beyond()["value"].values[2, 2, 1].mean())
    # Other configurations do not change its figures.
    alone = table([summarise(cell(), **SETTINGS)])
    both = rows.merge(alone, on=["codec", "variant", "scoring", "rescore", "metric", "k"])
    assert len(both) == len(alone)
    for name in ("value", "ci_low", "ci_high", "seed_sd"):
        np.testing.assert_allclose(both[f"{name}_x"], both[f"{name}_y"], atol=1e-12)


def test_a_configuration_evaluated_for_some_queries_only_is_refused() -> None:
    holed = cell()
    holed["value"][0, 0, 0, 3] = np.nan
    with pytest.raises(InvalidInput, match="intervals need a value for every query"):
        summarise(holed, **SETTINGS)


def test_parts_of_a_cell_must_have_one_set_of_cutoffs_and_queries() -> None:
    with pytest.raises(InvalidInput, match=r"m × d: quality is there for other cut-offs than search\.k"):
        join([cell(), beyond().isel(k=[1])])
    with pytest.raises(InvalidInput, match="m × d: quality is there for 50 and for 49 queries"):
        join([cell(), beyond().isel(query=slice(49))])


def test_a_joined_cell_knows_every_undertrained_codec() -> None:
    further = beyond().assign_attrs(undertrained=["opq"])
    assert join([cell(), further]).attrs["undertrained"] == ["opq", "pq"]


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(InvalidInput, match="metric: map was not measured; choose from recall, ndcg, mrr"):
        select(cell(), "map", 10)
    with pytest.raises(InvalidInput, match="k: 7 was not measured; choose from 1, 10"):
        select(cell(), "recall", 7)


def test_the_cube_and_the_headline_hold_plain_configurations_alone() -> None:
    assert is_plain(beyond()).tolist() == [False, False, False]
    assert is_plain(cell()).all()
    alone, with_more = (cube([summarise(one, **SETTINGS)]) for one in (cell(), join([cell(), beyond()])))
    xr.testing.assert_allclose(with_more, alone, atol=1e-12)
    names = {"names": NAMES, "versus": ("phase1-64", "pq-8"), "k": 10, **SETTINGS}
    assert headline([join([cell(), beyond()])], **names) == headline([cell()], **names)


NAMES = {"float32": ("float32", 0), "pq-8": ("pq", 64), "phase1-64": ("phase1", 64), "pq-64": ("pq", 512)}


def test_the_headline_is_the_mean_over_cells_and_skips_what_a_study_lacks() -> None:
    cells = [cell(), cell(dataset="e", seed=1), cell(model="n", seed=2)]
    figures = headline(cells, names=NAMES, versus=("phase1-64", "pq-8"), k=10, **SETTINGS)
    values = [one["value"].values[:, 0, 1].mean(axis=-1, dtype=np.float64) for one in cells]
    recall = {
        "float32": np.mean([v[3] for v in values]),
        "phase1": np.mean([v[[0, 2]].mean() for v in values]),
        "pq": np.mean([v[1] for v in values]),
    }
    assert set(figures["recall_at_10"]) == {"float32", "pq-8", "phase1-64"}
    assert figures["recall_at_10"]["float32"] == pytest.approx(recall["float32"], abs=1e-6)
    assert figures["recall_at_10"]["phase1-64"] == pytest.approx(recall["phase1"], abs=1e-6)
    contrast = figures["phase1-64_minus_pq-8"]
    assert contrast["mean"] == pytest.approx(recall["phase1"] - recall["pq"], abs=2e-6)
    assert contrast["ci_low"] < contrast["mean"] < contrast["ci_high"]
    assert (figures["cells"], figures["cells_pq_undertrained"]) == (3, 3)


def test_models_of_one_dataset_meet_the_same_draws() -> None:
    """The interval of a mean over two identical cells is that of one; over two datasets it is narrower."""
    one, same, other = cell(queries=200), cell(model="n", queries=200), cell(dataset="e", queries=200)

    def width(cells: list[xr.Dataset]) -> float:
        contrast = headline(cells, names=NAMES, versus=("phase1-64", "pq-8"), k=10, **SETTINGS)[
            "phase1-64_minus_pq-8"
        ]
        return float(contrast["ci_high"] - contrast["ci_low"])

    assert width([one, same]) == pytest.approx(width([one]), abs=1e-9)
    assert width([one, other]) < 0.85 * width([one])


def test_figures_without_intervals_are_those_with_them() -> None:
    one = cell(level=0.3)
    figures, summary = figures_of(one), summarise(one, **SETTINGS)
    xr.testing.assert_equal(figures, summary[list(figures)].drop_vars(["model", "dataset"]))
    means = over_seeds(one)["value"].mean("query")
    np.testing.assert_allclose(figures["value"], means, atol=1e-12)
    assert figures["codec"].values.tolist() == ["float32", "phase1", "pq"]


def test_what_is_missing_has_a_place_in_the_cube_and_a_row_of_its_own() -> None:
    cells = [cell("m", "d"), cell("m", "e")]
    gaps = [Gap("m", "e", ("further_quality",)), Gap("n", "e", ("quality", "further_quality"))]
    figures = [summarise(one, **SETTINGS) for one in cells]
    whole = cube(figures, gaps)
    assert (whole["model"].values.tolist(), whole["dataset"].values.tolist()) == (["m", "n"], ["d", "e"])
    assert whole["missing"].values.tolist() == [["", "further_quality"], ["", "quality further_quality"]]
    assert np.isnan(whole["value"].sel(model="n")).all()
    assert whole["n_queries"].values.tolist() == [[50, 50], [0, 0]]
    assert not whole["undertrained"].sel(model="n").any()
    assert not np.isnan(whole["value"].sel(model="m")).all()
    assert "missing" not in cube(figures)
    lines = csv_text(table(figures, gaps)).splitlines()
    assert lines[: -len(gaps)] == csv_text(table(figures)).splitlines()
    assert lines[-2:] == [
        f"m,e{',' * (len(COLUMNS) - 2)}missing: further_quality",
        f"n,e{',' * (len(COLUMNS) - 2)}missing: quality further_quality",
    ]
