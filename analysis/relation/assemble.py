"""From the figures and the geometry of a study to the points that E8 relates: one per (cell, bits)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.quality.figures import cell_name, is_plain, select
from store.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

METRICS = ("recall", "overlap")


def assemble(
    geometry: Sequence[xr.Dataset], figures: Sequence[xr.Dataset], *, codec: str, reference: str, k: int
) -> xr.Dataset:
    """Points of the binary ``codec``, (cell, bits), as `relate` takes them.

    ``geometry`` holds ``value`` and ``sample_size`` over (measure) of each cell; ``figures`` what `figures_of` gives of
    the same cells, in any order. Targets are Recall at ``k``, its retention (binary ÷ the best of ``reference``) and
    Overlap. The slope of a metric against log2 bits is a feature of the cell; it never predicts a target that was
    computed from the same metric. Lengths are those that every cell has. Raises InvalidInput for a study without
    cells, where cells have no length in common, and for a codec or cut-off that a cell lacks.
    """
    import xarray as xr

    if not geometry:
        raise InvalidInput("correlate: the study has no cells; name models and datasets in params.yaml")
    measured = {_labels(of_cell): of_cell for of_cell in geometry}
    found = {_labels(of_cell): of_cell for of_cell in figures}
    cells = sorted(measured)
    by_bits = {cell: _by_bits(found[cell], codec, "codec", k) for cell in cells}
    best = [float(_by_bits(found[cell], reference, "reference", k)["recall"].max()) for cell in cells]
    bits = sorted(set.intersection(*(set(of_cell["bits"].values.tolist()) for of_cell in by_bits.values())))
    if not bits:
        raise InvalidInput(
            f"correlate.codec: no length of {codec} was searched in every cell; "
            "give the cells of study.sweeps one in common"
        )
    values = xr.concat([by_bits[cell].sel(bits=bits) for cell in cells], "cell")
    measures = xr.concat([measured[cell][["value", "sample_size"]] for cell in cells], "cell", join="left")
    points = xr.Dataset(
        coords={
            "model": ("cell", [model for model, _ in cells]),
            "dataset": ("cell", [dataset for _, dataset in cells]),
            "bits": ("bits", np.array(bits, np.int64)),
        }
    )
    for name in measures["measure"].values.tolist():
        feature = measures.sel(measure=name)
        rows = feature["sample_size"].values
        sampled = {"sample_size": [int(np.nanmin(rows)), int(np.nanmax(rows))]}
        points[name] = ("cell", feature["value"].values, {"role": "feature", **sampled})
    for metric in METRICS:
        source = f"{metric}@{k}"
        target = values[metric].transpose("cell", "bits").values
        points[source] = (("cell", "bits"), target, {"role": "target", "source": source})
        if len(bits) > 1:
            slopes = [float(np.polyfit(np.log2(bits), of_cell, 1)[0]) for of_cell in target]
            points[f"slope_{metric}"] = ("cell", slopes, {"role": "feature", "source": source})
    recall = points[f"recall@{k}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = recall.values / np.array(best)[:, None]
    # If float search finds no relevant document, there is nothing to retain.
    retention = np.where(np.isfinite(ratio), ratio, np.nan)
    points[f"retention@{k}"] = (recall.dims, retention, {"role": "target", "source": f"recall@{k}"})
    return points


def note_samples(rows: pd.DataFrame, points: xr.Dataset) -> pd.DataFrame:
    """The rows of `relate` with a note where cells were measured on samples of different sizes."""
    noted = rows.copy()
    for name, variable in points.data_vars.items():
        least, most = variable.attrs.get("sample_size", (0, 0))
        if least != most:
            said = f"measured on {least} to {most} rows"
            of_feature = noted["feature"] == str(name)
            noted.loc[of_feature, "note"] = [
                "; ".join(filter(None, [note, said])) for note in noted.loc[of_feature, "note"]
            ]
    return noted


def _labels(of_cell: xr.Dataset) -> tuple[str, str]:
    return of_cell.attrs["model"], of_cell.attrs["dataset"]


def _by_bits(figures: xr.Dataset, codec: str, setting: str, k: int) -> xr.Dataset:
    """``recall`` and ``overlap`` over (bits) of a codec as such."""
    chosen = np.flatnonzero(is_plain(figures) & (figures["codec"].values == codec))
    if not len(chosen):
        known = ", ".join(sorted(set(figures["codec"].values.tolist())))
        raise InvalidInput(
            f"correlate.{setting}: {codec!r} is not one of the core's codecs; choose one of {known}"
        )
    of_codec = figures.isel(configuration=chosen)
    bits = of_codec["bits"].values
    if len(set(bits.tolist())) < len(bits):
        raise InvalidInput(
            f"correlate.{setting}: {cell_name(figures)} has several searches of {codec} of one length; "
            "give all but one a variant"
        )
    values = {metric: ("bits", select(of_codec, metric, k)["value"].values) for metric in METRICS}
    return type(figures)(values, coords={"bits": bits.astype(np.int64)})
