"""Curves of quality against bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from analysis.report.curves import CURVE_COLUMNS, TEMPLATE, curve_rows, missing_cells, png, quality_by_bytes
from analysis.report.tables import csv_text
from store.errors import InvalidInput
from tests.analysis.quality.labelled_cells import shuffled
from tests.paths import ROOT

AXES: dict[str, list[Any]] = {
    "model": ["m", "n"],
    "dataset": ["d"],
    "codec": ["float32", "phase1"],
    "bits": [64, 128, 512],
    "metric": ["recall", "ndcg"],
    "k": [1, 10],
}


def results() -> xr.Dataset:
    shape = tuple(len(values) for values in AXES.values())
    value = np.full(shape, np.nan)
    value[:, :, 0, 2] = 0.9
    value[:, :, 1, :2] = 0.4
    value[1, 0, 1, 1, 0, 1] = 0.5
    figures = {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1}
    return xr.Dataset({name: (tuple(AXES), array) for name, array in figures.items()}, coords=AXES).assign(
        # Phase-1 of the first model, which no study would flag: any codec can be.
        undertrained=(("model", "dataset", "codec"), [[[False, True]], [[False, False]]])
    )


def test_rows_are_the_lengths_a_codec_has() -> None:
    rows = curve_rows(results(), "recall", 10)
    assert list(zip(rows["cell"], rows["codec"], rows["bytes_per_vector"], strict=True)) == [
        ("m × d", "float32", 64),
        ("m × d", "phase1", 8),
        ("m × d", "phase1", 16),
        ("n × d", "float32", 64),
        ("n × d", "phase1", 8),
        ("n × d", "phase1", 16),
    ]
    assert rows["value"].iloc[-1] == 0.5
    assert list(rows["flags"]) == ["", "pq-undertrained", "pq-undertrained", "", "", ""]
    assert tuple(rows.columns) == CURVE_COLUMNS


def test_rows_are_found_by_label_whatever_the_order() -> None:
    for seed in range(3):
        # Panels and lines come in the order of models, datasets and codecs; everything else may be turned about.
        moved = shuffled(results(), "model", "dataset", "codec", "bits", seed=seed)
        assert csv_text(curve_rows(moved, "recall", 10)) == csv_text(curve_rows(results(), "recall", 10))
        turned = curve_rows(shuffled(results(), seed=seed), "recall", 10)
        key = ["cell", "codec", "bytes_per_vector"]
        assert csv_text(turned.sort_values(key)) == csv_text(curve_rows(results(), "recall", 10))


def test_a_curve_of_what_was_not_measured_is_refused() -> None:
    with pytest.raises(InvalidInput, match="k: 20 was not measured; choose from 1, 10"):
        curve_rows(results(), "recall", 20)


def test_what_is_missing_is_said_of_each_cell() -> None:
    assert missing_cells(results()) == []
    lacking = results().assign(missing=(("dataset", "model"), [["", "quality"]]))
    assert missing_cells(lacking) == ["n × d: quality"]


def test_the_picture_is_a_png_and_repeats() -> None:
    rows = curve_rows(results(), "recall", 10)
    first, second = (png(quality_by_bytes(rows, "recall", 10)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_each_panel_draws_its_own_cell() -> None:
    """The data is the facet's alone; a layer that had any would show every cell in every panel."""
    chart = quality_by_bytes(curve_rows(results(), "recall", 10), "recall", 10).to_dict()
    assert len(chart["datasets"][chart["data"]["name"]]) == 6
    assert "data" not in chart["spec"]
    assert all("data" not in layer for layer in chart["spec"]["layer"])


def test_what_is_missing_stands_below_the_title() -> None:
    rows = curve_rows(results(), "recall", 10)
    plain, marked = (
        quality_by_bytes(rows, "recall", 10, missing).to_dict()["title"]
        for missing in ((), ("n × e: quality",))
    )
    assert marked == {"text": plain, "subtitle": ["missing: n × e: quality"]}


def test_the_template_of_dvc_plots_is_in_its_place() -> None:
    content = yaml.safe_load((ROOT / TEMPLATE).read_text())
    assert content["spec"]["encoding"]["x"]["scale"]["type"] == "log"


def test_a_study_without_flags_is_drawn() -> None:
    rows = curve_rows(results().assign(undertrained=False), "recall", 10)
    assert not rows["flags"].any()
    assert png(quality_by_bytes(rows, "recall", 10)).startswith(b"\x89PNG")
