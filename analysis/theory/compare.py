"""Predictions of the closed form beside the measurements that they are of, and how far apart these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.quality.figures import figures_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

COLUMNS = (
    "model",
    "dataset",
    "bits",
    "rescore",
    "oversample",
    "metric",
    "k",
    "predicted",
    "measured",
    "difference",
    "n_seeds",
    "n_queries",
)
"""The columns of ``report/predicted.csv``: one row for each prediction that was measured.

``measured`` is the mean over seeds and queries, ``difference`` is predicted − measured; ``rescore`` and ``oversample``
are those of ``report/results.csv``.
"""

_WHICH = ["bits", "oversample", "metric", "k"]


def predictable(quality: xr.Dataset) -> xr.Dataset:
    """The part of a cell's quality that the closed form is about: Phase-1 codes searched by Hamming distance, as they
    are or re-scored by float32.

    ``quality`` is per query, as `analysis.quality.figures` describes it; of its variables ``value`` alone is kept.
    """
    codes = (quality["codec"] == "phase1") & (quality["scoring"] == "hamming")
    chosen = codes & quality["rescore"].isin(["", "float32"])
    return quality[["value"]].isel(configuration=np.flatnonzero(chosen))


def beside(predicted: Sequence[xr.Dataset], measured: Sequence[xr.Dataset]) -> pd.DataFrame:
    """The table of `COLUMNS`, a cell after the other, in each its lengths, searches, metrics and cut-offs.

    ``predicted`` are leaves of predicted quality, ``value`` (metric, bits, oversample, k), and ``measured`` what
    `predictable` leaves of the same cells in the same order.
    """
    import pandas as pd

    tables = []
    for expected, cell in zip(predicted, measured, strict=True):
        figures = figures_of(cell).reset_coords("bytes_per_vector", drop=True)
        found = (
            figures[["value", "n_seeds"]].to_dataframe().reset_index().rename(columns={"value": "measured"})
        )
        values = expected["value"].to_dataframe("predicted").reset_index().dropna()
        rows = found.merge(values, on=_WHICH)
        tables.append(
            rows.assign(
                model=cell.attrs["model"],
                dataset=cell.attrs["dataset"],
                difference=rows["predicted"] - rows["measured"],
                n_queries=cell.sizes["query"],
            )
        )
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """How far apart the rows of `beside` are, over cells and lengths: one row for each search, metric and k.

    ``mean_error`` and ``greatest_error`` are of the absolute difference, ``mean_difference`` is of predicted −
    measured; ``points`` are the rows that each is over.
    """
    apart = rows.assign(error=rows["difference"].abs())
    of_search = apart.groupby(["rescore", "oversample", "metric", "k"], as_index=False, sort=True)
    return of_search.agg(
        mean_error=("error", "mean"),
        greatest_error=("error", "max"),
        mean_difference=("difference", "mean"),
        points=("error", "size"),
    )
