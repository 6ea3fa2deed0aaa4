"""Curves of quality against bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from analysis.report.curves import CURVE_COLUMNS, TEMPLATE, curve_rows, png, quality_by_bytes
from tests.paths import ROOT

AXES: dict[str, list[Any]] = {
    "model": ["m", "n"],
    "dataset": ["d"],
    "codec": ["float32", "phase1"],
    "bits": [64, 128, 512],
    "metric": ["recall", "ndcg"],
    "k": [1, 10],
}


# Phase-1 of the first model, which no study would flag: any codec can be.
UNDERTRAINED_CELLS = np.array([[[False, True]], [[False, False]]])


def arrays() -> dict[str, np.ndarray]:
    shape = tuple(len(values) for values in AXES.values())
    value = np.full(shape, np.nan)
    value[:, :, 0, 2] = 0.9
    value[:, :, 1, :2] = 0.4
    value[1, 0, 1, 1, 0, 1] = 0.5
    return {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1}


def test_rows_are_the_lengths_a_codec_has() -> None:
    rows = curve_rows(AXES, arrays(), UNDERTRAINED_CELLS, "recall", 10)
    assert [(r["cell"], r["codec"], r["bytes_per_vector"]) for r in rows] == [
        ("m × d", "float32", 64),
        ("m × d", "phase1", 8),
        ("m × d", "phase1", 16),
        ("n × d", "float32", 64),
        ("n × d", "phase1", 8),
        ("n × d", "phase1", 16),
    ]
    assert rows[-1]["value"] == 0.5
    assert [r["flags"] for r in rows] == ["", "pq-undertrained", "pq-undertrained", "", "", ""]
    assert set(CURVE_COLUMNS) <= set(rows[0])


def test_the_picture_is_a_png_and_repeats() -> None:
    rows = curve_rows(AXES, arrays(), UNDERTRAINED_CELLS, "recall", 10)
    first, second = (png(quality_by_bytes(rows, "recall", 10)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_each_panel_draws_its_own_cell() -> None:
    """The data is the facet's alone; a layer that had any would show every cell in every panel."""
    chart = quality_by_bytes(
        curve_rows(AXES, arrays(), UNDERTRAINED_CELLS, "recall", 10), "recall", 10
    ).to_dict()
    assert len(chart["datasets"][chart["data"]["name"]]) == 6
    assert "data" not in chart["spec"]
    assert all("data" not in layer for layer in chart["spec"]["layer"])


def test_what_is_missing_stands_below_the_title() -> None:
    rows = curve_rows(AXES, arrays(), UNDERTRAINED_CELLS, "recall", 10)
    plain, marked = (
        quality_by_bytes(rows, "recall", 10, missing).to_dict()["title"]
        for missing in ((), ("n × e: quality",))
    )
    assert marked == {"text": plain, "subtitle": ["missing: n × e: quality"]}


def test_the_template_of_dvc_plots_is_in_its_place() -> None:
    content = yaml.safe_load((ROOT / TEMPLATE).read_text())
    assert content["spec"]["encoding"]["x"]["scale"]["type"] == "log"
