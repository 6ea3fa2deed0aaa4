"""Curves of quality against bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from analysis.figures import CURVE_COLUMNS, TEMPLATE, curve_rows, png, quality_by_bytes

AXES = {
    "model": ["m", "n"],
    "dataset": ["d"],
    "codec": ["float32", "phase1"],
    "bits": [64, 128, 512],
    "metric": ["recall", "ndcg"],
    "k": [1, 10],
}


def arrays() -> dict[str, np.ndarray]:
    shape = tuple(len(values) for values in AXES.values())
    value = np.full(shape, np.nan)
    value[:, :, 0, 2] = 0.9
    value[:, :, 1, :2] = 0.4
    value[1, 0, 1, 1, 0, 1] = 0.5
    return {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1}


def test_rows_are_the_lengths_a_codec_has() -> None:
    rows = curve_rows(AXES, arrays(), "recall", 10)
    assert [(r["cell"], r["codec"], r["bytes_per_vector"]) for r in rows] == [
        ("m × d", "float32", 64),
        ("m × d", "phase1", 8),
        ("m × d", "phase1", 16),
        ("n × d", "float32", 64),
        ("n × d", "phase1", 8),
        ("n × d", "phase1", 16),
    ]
    assert rows[-1]["value"] == 0.5
    assert set(CURVE_COLUMNS) <= set(rows[0])


def test_the_picture_is_a_png_and_repeats() -> None:
    rows = curve_rows(AXES, arrays(), "recall", 10)
    first, second = (png(quality_by_bytes(rows, "recall", 10)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_the_template_of_dvc_plots_is_in_its_place() -> None:
    content = yaml.safe_load((Path(__file__).parents[2] / TEMPLATE).read_text())
    assert content["spec"]["encoding"]["x"]["scale"]["type"] == "log"
