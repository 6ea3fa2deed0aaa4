"""Pictures of the results: quality against bytes per vector, one panel a cell, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.quality.results import UNDERTRAINED

Row = Mapping[str, Any]

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

LABELS = {"recall": "Recall", "ndcg": "nDCG", "mrr": "MRR", "overlap": "Overlap"}


def curve_rows(
    axes: Mapping[str, Sequence[Any]],
    arrays: Mapping[str, NDArray[np.float64]],
    undertrained: NDArray[np.bool_],
    metric: str,
    k: int,
) -> list[Row]:
    """The points of one picture from the cube, ordered by cell, codec and size.

    ``axes`` holds the labels of (model, dataset, codec, bits, metric, k); ``arrays`` value, ci_low, ci_high over them;
    ``undertrained`` is (model, dataset, codec).
    """
    at = (axes["metric"].index(metric), axes["k"].index(k))
    rows: list[Row] = []
    for (d, dataset), (m, model), (c, codec) in product(
        *(enumerate(axes[n]) for n in ("dataset", "model", "codec"))
    ):
        for b, bits in enumerate(axes["bits"]):
            figures = {name: float(values[m, d, c, b, *at]) for name, values in arrays.items()}
            # The cube has a place for every length of every codec; a codec's own are those with a value.
            if not np.isnan(figures["value"]):
                cell = f"{model} × {dataset}"
                labels = {"cell": cell, "model": model, "dataset": dataset, "codec": codec}
                flags = UNDERTRAINED if undertrained[m, d, c] else ""
                rows.append({**labels, "bytes_per_vector": bits // 8, **figures, "flags": flags})
    return rows


def quality_by_bytes(rows: Sequence[Row], metric: str, k: int, missing: Sequence[str] = ()) -> Any:
    """An Altair chart of the rows that `curve_rows` gives: lines with confidence bands, a column per model.

    What is ``missing`` of the study stands below the title, a line each.
    """
    import altair as alt

    # The data belongs to the facet: a layer with data of its own would show every cell in every panel.
    base = alt.Chart()
    x = alt.X("bytes_per_vector:Q").scale(type="log", base=2).title("bytes per vector")
    color = alt.Color("codec:N").scale(domain=list(CODECS), range=list(CODECS.values())).title("codec")
    y = alt.Y("value:Q").scale(domain=[0, 1]).title(f"{LABELS[metric]}@{k}")
    shape = (
        alt.Shape("flags:N")
        .scale(domain=["", UNDERTRAINED], range=["circle", "triangle"])
        .title(None)
        .legend(values=[UNDERTRAINED] if any(row["flags"] for row in rows) else [])
    )
    layers = alt.layer(
        base.mark_line(opacity=0.8).encode(x=x, y=y, color=color),
        base.mark_point(filled=True, size=28).encode(x=x, y=y, color=color, shape=shape),
        base.mark_rule(opacity=0.6).encode(x=x, y=alt.Y("ci_low:Q"), y2="ci_high:Q", color=color),
    ).properties(width=230, height=160)
    values = [{name: row[name] for name in CURVE_COLUMNS} for row in rows]
    title: Any = f"{LABELS[metric]}@{k} by bytes per vector, with intervals over queries"
    if missing:
        title = alt.Title(title, subtitle=[f"missing: {what}" for what in missing])
    return (
        layers.facet(
            row=alt.Row("dataset:N").title(None),
            column=alt.Column("model:N").title(None),
            data=alt.InlineData(values=values),
        )
        .properties(title=title)
        .configure_axis(grid=True, gridOpacity=0.4)
    )


def png(chart: Any, scale: float = 1.5) -> bytes:
    """The chart as a PNG, without a browser."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(chart.to_json(), scale=scale))
