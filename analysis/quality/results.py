"""The figures of a study: the table, the cube and the headline.

One row of the table is a (cell, configuration, metric, k). Values are means over queries of the mean over seeds;
intervals are over queries, and every configuration of a cell uses the same draws. Definitions: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.intervals.bootstrap import bootstrap_means
from analysis.quality.figures import DIGITS, UNDERTRAINED, is_plain, over_seeds, select
from store.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

COLUMNS = (
    "model",
    "dataset",
    "codec",
    "variant",
    "scoring",
    "bits",
    "bytes_per_vector",
    "rescore",
    "oversample",
    "rescore_bytes",
    "metric",
    "k",
    "value",
    "ci_low",
    "ci_high",
    "seed_sd",
    "n_queries",
    "n_seeds",
    "flags",
)
"""The columns of ``report/results.csv``."""

AXES = ("model", "dataset", "codec", "bits", "metric", "k")
"""The dimensions of the cube."""

_FIGURES = ("value", "ci_low", "ci_high", "seed_sd", "expected_recall", "tie_share")
_COUNTS: Mapping[str, tuple[tuple[str, ...], type[np.generic]]] = {
    "undertrained": (("model", "dataset", "codec"), np.bool_),
    "n_queries": (("model", "dataset"), np.int32),
    "n_seeds": (("codec", "bits"), np.int32),
}
_WHOLE = ("bits", "bytes_per_vector", "oversample", "rescore_bytes", "k", "n_queries", "n_seeds")


@dataclass(frozen=True)
class Gap:
    """Artifacts of a cell that are not there, so that figures are missing."""

    model: str
    dataset: str
    artifacts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The artifacts as one text."""
        return " ".join(self.artifacts)


def table(figures: Sequence[xr.Dataset], gaps: Iterable[Gap] = ()) -> pd.DataFrame:
    """The rows of ``report/results.csv``, from what `summarise` gives of each cell.

    One per (cell, configuration, metric, k) that was evaluated, in the order of the cells; after them, one per gap that
    says what is missing and is empty but for the cell and the flag.
    """
    import pandas as pd

    rows = [_rows(of_cell) for of_cell in figures]
    missing = [(gap.model, gap.dataset, f"missing: {gap.text}") for gap in gaps]
    frame = pd.concat(
        [*rows, pd.DataFrame(missing, columns=["model", "dataset", "flags"])], ignore_index=True
    )
    # A row that lacks a whole number must not turn the others into fractions.
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))[list(COLUMNS)]


def _rows(figures: xr.Dataset) -> pd.DataFrame:
    """The figures of a cell as a table, one row per (configuration, metric, k) that was evaluated."""
    rows = figures.to_dataframe(["configuration", "metric", "k"]).reset_index()
    rows["flags"] = np.where(rows["undertrained"], UNDERTRAINED, "")
    return rows[rows["value"].notna()]


def cube(figures: Sequence[xr.Dataset], gaps: Iterable[Gap] = ()) -> xr.Dataset:
    """The figures over (model, dataset, codec, bits, metric, k); combinations that a study does not have are NaN.

    Only plain configurations (`is_plain`) are in the cube; the table has them all. Models and datasets come in the
    order of ``figures`` and ``gaps``. What is missing has an array of its own where ``gaps`` name any. Raises
    InvalidInput where a cell has two plain configurations of one codec and size.
    """
    import pandas as pd

    gaps = list(gaps)
    plain = [of_cell.isel(configuration=np.flatnonzero(is_plain(of_cell))) for of_cell in figures]
    rows = pd.concat([_rows(of_cell) for of_cell in plain], ignore_index=True)
    # Ties concern recall alone; the other metrics keep NaN.
    rows.loc[rows["metric"] != "recall", ["expected_recall", "tie_share"]] = np.nan
    doubled = rows[rows.duplicated(list(AXES))]
    if len(doubled):
        one = doubled.iloc[0]
        raise InvalidInput(
            f"{one['model']} × {one['dataset']}: {one['codec']} has several searches of {one['bits']} bits; "
            "give all but one a variant"
        )
    whole = rows.set_index(list(AXES))[list(_FIGURES)].to_xarray()
    for name, (over, kind) in _COUNTS.items():
        counted = rows.groupby(list(over))[name].max().to_xarray()
        whole[name] = counted.fillna(kind(0)).astype(kind)
    first = figures[0]
    named = [(str(of_cell["model"].item()), str(of_cell["dataset"].item())) for of_cell in figures]
    named += [(gap.model, gap.dataset) for gap in gaps]
    labels = {
        "model": list(dict.fromkeys(model for model, _ in named)),
        "dataset": list(dict.fromkeys(dataset for _, dataset in named)),
        "metric": first["metric"].values.tolist(),
        "k": first["k"].values,
    }
    nothing = dict.fromkeys(_FIGURES, np.nan) | {name: kind(0) for name, (_, kind) in _COUNTS.items()}
    whole = whole.reindex(labels, fill_value=nothing).transpose(*AXES)
    whole = whole.assign_coords({name: whole[name].astype(np.int32) for name in ("bits", "k")})
    if gaps:
        missing = np.full((len(labels["model"]), len(labels["dataset"])), "", np.dtypes.StringDType())
        whole["missing"] = (("model", "dataset"), missing)
        for gap in gaps:
            whole["missing"].loc[{"model": gap.model, "dataset": gap.dataset}] = gap.text
    return whole


def headline(
    cells: Sequence[xr.Dataset],
    *,
    names: Mapping[str, tuple[str, int]],
    versus: tuple[str, str],
    k: int,
    draws: int,
    seed: int,
    confidence: float,
) -> dict[str, Any]:
    """The few figures that DVC shows: mean Recall@k over cells of each named (codec, bits), and one contrast.

    ``cells`` are quality per query; each dataset has draws of its own, numbered in the order in which the cells name
    them. ``names`` maps a metric's name to its configuration; a bits of 0 takes the codec's only length. ``versus``
    names the two whose difference is given with its interval: queries are resampled within each dataset, the same
    draw for its models. Raises InvalidInput for a cut-off that a cell lacks.
    """
    per_cell: dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]] = {name: [] for name in names}
    for cell in cells:
        means = select(over_seeds(cell), "recall", k)
        evaluated = means["value"].notnull().all("query").values
        means = means.isel(configuration=np.flatnonzero(is_plain(means) & evaluated))
        for name, (codec, bits) in names.items():
            match = (means["codec"] == codec) & ((means["bits"] == bits) | (bits == 0))
            if match.sum() == 1:
                per_cell[name].append(means["value"].values[match.values][0])
    complete = {name: found for name, found in per_cell.items() if len(found) == len(cells)}
    figures: dict[str, Any] = {
        f"recall_at_{k}": {
            name: _round(np.mean([v.mean() for v in found])) for name, found in complete.items()
        }
    }
    if set(versus) <= set(complete):
        pairs = zip(complete[versus[0]], complete[versus[1]], strict=True)
        datasets = list(dict.fromkeys(cell.attrs["dataset"] for cell in cells))
        draws_of_mean = np.mean(
            [
                bootstrap_means(a - b, draws, seed + datasets.index(cell.attrs["dataset"]))
                for cell, (a, b) in zip(cells, pairs, strict=True)
            ],
            axis=0,
        )
        tail = (1 - confidence) / 2
        low, high = np.quantile(draws_of_mean, [tail, 1 - tail])
        figures[f"{versus[0]}_minus_{versus[1]}"] = {
            "mean": _round(figures[f"recall_at_{k}"][versus[0]] - figures[f"recall_at_{k}"][versus[1]]),
            "ci_low": _round(low),
            "ci_high": _round(high),
        }
    figures["cells"] = len(cells)
    # Figures of such cells are marked wherever they appear.
    shown = {codec for codec, _ in names.values()}
    figures["cells_pq_undertrained"] = sum(bool(shown & set(cell.attrs["undertrained"])) for cell in cells)
    return figures


def _round(value: Any) -> float:
    return round(float(value), DIGITS) + 0.0
