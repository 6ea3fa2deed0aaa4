"""The picture of a family of differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.quality.figures import UNDERTRAINED
from analysis.quality.regimes import COLUMNS, REGIMES
from analysis.report.curves import png
from analysis.report.regimes import COLORS, DRAWN, differences_by_cell


def rows() -> pd.DataFrame:
    found = [
        dict[str, Any](
            model=model,
            dataset="d",
            first="phase1",
            second="pq",
            bits=8 * size,
            bytes_per_vector=size,
            metric="recall",
            k=10,
            first_value=0.5,
            second_value=0.5 - difference,
            difference=difference,
            ci_low=difference - 0.01,
            ci_high=difference + 0.01,
            p_value=0.5,
            p_holm=1.0,
            simultaneous_low=difference - 0.03,
            simultaneous_high=difference + 0.03,
            regime=regime,
            n_queries=300,
            first_seeds=5,
            second_seeds=3,
            flags=UNDERTRAINED if model == "n" else "",
        )
        for model in ("m", "n")
        for size, difference, regime in zip((8, 16, 32, 64), (-0.1, 0.05, 0.0, 0.01), REGIMES, strict=True)
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def test_the_picture_is_a_png_and_repeats() -> None:
    first, second = (png(differences_by_cell(rows(), 0.02)) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_one_cell_without_a_flag_and_without_an_interval_is_drawn() -> None:
    one = rows().query("model == 'm'")
    assert not one["flags"].any()
    assert png(differences_by_cell(one, 0.02)).startswith(b"\x89PNG")
    unknown = one.assign(simultaneous_low=np.nan, simultaneous_high=np.nan)
    assert png(differences_by_cell(unknown, 0.02)).startswith(b"\x89PNG")


def test_each_panel_draws_its_own_cell_and_the_margin() -> None:
    chart = differences_by_cell(rows(), 0.025).to_dict()
    assert [tuple(row) for row in chart["datasets"][chart["data"]["name"]]] == [DRAWN] * 8
    assert "data" not in chart["spec"]
    assert all("data" not in layer for layer in chart["spec"]["layer"])
    assert chart["spec"]["layer"][0]["transform"] == [
        {"calculate": "-0.025", "as": "lowest"},
        {"calculate": "0.025", "as": "highest"},
    ]
    assert "phase1 against pq" in chart["title"]
    assert "±0.025" in chart["title"]


def test_every_regime_has_a_colour_whether_or_not_it_occurs() -> None:
    assert set(COLORS) == set(REGIMES)
    (color,) = {
        tuple(layer["encoding"]["color"]["scale"]["domain"])
        for layer in differences_by_cell(rows()[:1], 0.02).to_dict()["spec"]["layer"]
        if "color" in layer["encoding"]
    }
    assert color == REGIMES
