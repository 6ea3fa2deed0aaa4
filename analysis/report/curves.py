"""Pictures of the results: quality against bytes per vector, one panel a cell, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.quality.figures import UNDERTRAINED, select
from analysis.report.tables import records

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CURVE_COLUMNS = (
    "cell",
    "model",
    "dataset",
    "codec",
    "bytes_per_vector",
    "value",
    "ci_low",
    "ci_high",
    "flags",
)
"""The columns of ``report/plots/<metric>_at_<k>.csv``."""

TEMPLATE = ".dvc/plots/quality_by_bytes.json"
"""Vega-Lite template that ``dvc plots`` draws the curves with."""

CODECS = {"float32": "#4c566a", "int8": "#2a9d8f", "pq": "#e76f51", "phase1": "#3a6ea5"}
"""Colour of each codec, the same in every picture."""

_NAME = "datum.label === 'phase1' ? 'phase1 (SimHash)' : datum.label"
"""Vega expression of a codec's name in the legend: the Phase-1 engine is SimHash (Charikar 2002)."""

LABELS = {"recall": "Recall", "ndcg": "nDCG", "mrr": "MRR", "overlap": "Overlap"}


def curve_rows(results: xr.Dataset, metric: str, k: int) -> pd.DataFrame:
    """The points of one picture from the cube: a dataset after the other, in each its models, codecs and sizes.

    ``results`` holds value, ci_low and ci_high over (model, dataset, codec, bits, metric, k), undertrained over (model,
    dataset, codec). Raises InvalidInput for a metric or cut-off that it lacks.
    """
    figures = select(results[["value", "ci_low", "ci_high", "undertrained"]], metric, k)
    rows = figures.to_dataframe(["dataset", "model", "codec", "bits"]).reset_index()
    # The cube has a place for every length of every codec; a codec's own are those with a value.
    rows = rows[rows["value"].notna()]
    return rows.assign(
        cell=rows["model"] + " × " + rows["dataset"],
        bytes_per_vector=rows["bits"] // 8,
        flags=np.where(rows["undertrained"], UNDERTRAINED, ""),
    )[list(CURVE_COLUMNS)]


def missing_cells(results: xr.Dataset) -> list[str]:
    """What a study lacks, a text for each cell of the cube that lacks something."""
    if "missing" not in results:
        return []
    missing = results["missing"].transpose("model", "dataset")
    return [
        f"{model} × {dataset}: {missing.sel(model=model, dataset=dataset).item()}"
        for model in missing["model"].values.tolist()
        for dataset in missing["dataset"].values.tolist()
        if missing.sel(model=model, dataset=dataset).item()
    ]


def quality_by_bytes(rows: pd.DataFrame, metric: str, k: int, missing: Sequence[str] = ()) -> Any:
    """An Altair chart of the rows that `curve_rows` gives: lines with confidence bands, a column per model.

    What is ``missing`` of the study is listed below the title, a line each.
    """
    import altair as alt

    # The data belongs to the facet: a layer with data of its own would show every cell in every panel.
    base = alt.Chart()
    x = alt.X("bytes_per_vector:Q").scale(type="log", base=2).title("bytes per vector")
    color = (
        alt.Color("codec:N")
        .scale(domain=list(CODECS), range=list(CODECS.values()))
        .title("codec")
        .legend(labelExpr=_NAME)
    )
    y = alt.Y("value:Q").scale(domain=[0, 1]).title(f"{LABELS[metric]}@{k}")
    shape = (
        alt.Shape("flags:N")
        .scale(domain=["", UNDERTRAINED], range=["circle", "triangle"])
        .title(None)
        .legend(alt.Legend(values=[UNDERTRAINED]) if rows["flags"].any() else None)
    )
    layers = alt.layer(
        base.mark_line(opacity=0.8).encode(x=x, y=y, color=color),
        base.mark_point(filled=True, size=28).encode(x=x, y=y, color=color, shape=shape),
        base.mark_rule(opacity=0.6).encode(x=x, y=alt.Y("ci_low:Q"), y2="ci_high:Q", color=color),
    ).properties(width=230, height=160)
    title: Any = f"{LABELS[metric]}@{k} by bytes per vector, with intervals over queries"
    if missing:
        title = alt.Title(title, subtitle=[f"missing: {what}" for what in missing])
    return (
        layers.facet(
            row=alt.Row("dataset:N").title(None),
            column=alt.Column("model:N").title(None),
            data=alt.InlineData(values=records(rows, CURVE_COLUMNS)),
        )
        .properties(title=title)
        .configure_axis(grid=True, gridOpacity=0.4)
    )


def png(chart: Any, scale: float = 1.5) -> bytes:
    """The chart as a PNG, without a browser."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(chart.to_json(), scale=scale))
