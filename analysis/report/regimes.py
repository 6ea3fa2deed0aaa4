"""Picture of a family of differences: one panel a cell, every size with its simultaneous interval and regime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.quality.figures import UNDERTRAINED
from analysis.quality.regimes import CLEARLY_WORSE, COMPETITIVE, PREFERABLE, REGIMES, UNDECIDED
from analysis.report.curves import LABELS
from analysis.report.tables import records

if TYPE_CHECKING:
    import pandas as pd

COLORS = {CLEARLY_WORSE: "#b8432f", PREFERABLE: "#2a9d8f", COMPETITIVE: "#3a6ea5", UNDECIDED: "#8a8f98"}
"""Colour of each regime."""

DRAWN = (
    "model",
    "dataset",
    "bytes_per_vector",
    "difference",
    "simultaneous_low",
    "simultaneous_high",
    "regime",
    "flags",
)
"""The columns of the table that the picture shows."""


def differences_by_cell(rows: pd.DataFrame, margin: float) -> Any:
    """An Altair chart of the rows of `regimes.compare`: a dataset a line of panels, a model a column.

    The grey band is ± ``margin``, triangles are differences with an under-trained codec.
    """
    import altair as alt

    one = rows.iloc[0]
    contrast = f"{one['first']} − {one['second']}"
    # The data belongs to the facet: a layer with data of its own would show every cell in every panel.
    base = alt.Chart().transform_calculate(lowest=str(-margin), highest=str(margin))
    x = alt.X("difference:Q").title(f"{LABELS[one['metric']]}@{one['k']}: {contrast}")
    y = alt.Y("bytes_per_vector:O").title("bytes per vector")
    color = (
        alt.Color("regime:N")
        .scale(domain=list(REGIMES), range=[COLORS[name] for name in REGIMES])
        .title("regime")
    )
    shape = (
        alt.Shape("flags:N")
        .scale(domain=["", UNDERTRAINED], range=["circle", "triangle"])
        .title(None)
        .legend(alt.Legend(values=[UNDERTRAINED]) if rows["flags"].any() else None)
    )
    layers = alt.layer(
        base.mark_rect(color="#d8dbe0", opacity=0.35).encode(x=alt.X("lowest:Q"), x2="highest:Q"),
        base.mark_rule(color="#4c566a", strokeDash=[3, 3]).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("simultaneous_low:Q"), x2="simultaneous_high:Q", y=y, color=color
        ),
        base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=color, shape=shape),
    ).properties(width=230, height=100)
    return layers.facet(
        row=alt.Row("dataset:N").title(None),
        column=alt.Column("model:N").title(None),
        data=alt.InlineData(values=records(rows, DRAWN)),
    ).properties(
        title=f"{one['first']} against {one['second']} of the same size, "
        f"with simultaneous intervals and the margin ±{margin}"
    )
