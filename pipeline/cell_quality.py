"""Artifacts as `analysis` takes them, where their leaves still differ: quality in two groups, scores by two names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.quality.figures import join
from pipeline.stage import Run
from store.artifacts.extended_quality import EXTENDED_QUALITY
from store.leaf.schema import Schema

if TYPE_CHECKING:
    import xarray as xr


def further_quality(run: Run[Any], keys: Mapping[str, str]) -> xr.Dataset:
    """What was searched and what was re-scored, over (configuration, metric, k, query); NaN at other cut-offs."""
    import xarray as xr

    searched, rescored = (
        run.labelled(EXTENDED_QUALITY, keys, group).load() for group in ("searched", "rescored")
    )
    rescored = rescored.reindex(k=searched["k"])
    ties = rescored["value"].isel(metric=0, drop=True)
    return join(
        [
            searched,
            rescored.assign(
                expected_recall=xr.full_like(ties, np.nan), tie_cut=xr.zeros_like(ties, np.bool_)
            ),
        ]
    )


def labelled_neighbours(run: Run[Any], schema: Schema, keys: Mapping[str, str]) -> xr.Dataset:
    """What was found, lazily, with ``scores`` whatever they are: inner products or Hamming distances."""
    data = run.labelled(schema, keys)
    return data.rename(distances="scores") if "distances" in data else data
