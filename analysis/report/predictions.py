"""Picture of predictions against measurements, one panel a metric and search, a colour a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.report.curves import LABELS
from analysis.report.tables import records

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
"""Colours that people of any colour vision tell apart (Okabe & Ito 2008), of the models in their order."""

DRAWN = ("model", "panel", "measured", "predicted")
"""The columns of the table that the picture shows."""


def predicted_against_measured(rows: pd.DataFrame) -> Any:
    """An Altair chart of the rows of `analysis.theory.compare.beside`; points on the diagonal are as predicted."""
    import altair as alt

    labels = rows["metric"].map(LABELS)
    drawn = rows.assign(panel=np.where(rows["oversample"] > 0, labels + ", re-scored by float32", labels))
    models = list(dict.fromkeys(drawn["model"]))
    # The data belongs to the facet: a layer with data of its own would show every point in every panel.
    base = alt.Chart()
    diagonal = base.transform_aggregate(points="count()").mark_rule(color="#4c566a", strokeDash=[3, 3])
    points = base.mark_point(size=18, opacity=0.8).encode(
        x=alt.X("measured:Q").scale(domain=[0, 1]),
        y=alt.Y("predicted:Q").scale(domain=[0, 1]),
        color=alt.Color("model:N").scale(domain=models, range=list(MODELS)).title("model"),
    )
    layers = alt.layer(
        diagonal.encode(x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1)), points
    ).properties(width=230, height=230)
    return layers.facet(
        column=alt.Column("panel:N").title(None),
        data=alt.InlineData(values=records(drawn, DRAWN)),
    ).properties(
        title="Quality of Phase-1 codes, predicted from the vectors and measured: every cell, length and k"
    )
