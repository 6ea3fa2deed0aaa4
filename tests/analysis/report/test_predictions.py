"""The picture of predictions against measurements."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.report.curves import png
from analysis.report.predictions import DRAWN, MODELS, predicted_against_measured


def rows() -> pd.DataFrame:
    found = [
        {"model": model, "oversample": oversample, "metric": metric, "predicted": 0.5, "measured": measured}
        for model in ("z", "a")
        for oversample, metric in ((0, "recall"), (0, "overlap"), (1, "overlap"), (5, "overlap"))
        for measured in (0.25, 0.5)
    ]
    return pd.DataFrame(found)


def test_the_picture_is_a_png_and_repeats() -> None:
    first, second = (png(predicted_against_measured(rows())) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_each_metric_has_a_panel_and_re_scored_searches_have_another() -> None:
    chart = predicted_against_measured(rows()).to_dict()
    drawn: list[dict[str, Any]] = chart["datasets"][chart["data"]["name"]]
    assert [tuple(row) for row in drawn] == [DRAWN] * 16
    panels = [row["panel"] for row in drawn if row["model"] == "z"]
    assert panels == [
        *["Recall"] * 2,
        *["Overlap"] * 2,
        *["Overlap, re-scored by float32"] * 4,
    ]
    assert "data" not in chart["spec"]
    assert all("data" not in layer for layer in chart["spec"]["layer"])


def test_models_have_their_colours_by_their_order() -> None:
    diagonal, points = predicted_against_measured(rows()).to_dict()["spec"]["layer"]
    assert points["encoding"]["color"]["scale"] == {"domain": ["z", "a"], "range": list(MODELS)}
    ends = [diagonal["encoding"][name]["datum"] for name in ("x", "y", "x2", "y2")]
    assert ends == [0, 0, 1, 1]
