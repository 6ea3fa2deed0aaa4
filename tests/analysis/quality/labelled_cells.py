"""The quality of a cell as its leaves hold it, from configurations and arrays; and the same in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from store.artifacts.configuration import Configuration, columns_of


def labelled_cell(
    model: str,
    dataset: str,
    configurations: Sequence[Configuration],
    metrics: Sequence[str],
    ks: Sequence[int],
    value: NDArray[np.float32],
    *,
    expected_recall: NDArray[np.float32] | None = None,
    tie_cut: NDArray[np.bool_] | None = None,
    undertrained: Sequence[str] = (),
) -> xr.Dataset:
    """``value`` is (configuration, metric, k, query); without ties none were counted."""
    ties = (len(configurations), len(ks), value.shape[-1])
    over_ties = ("configuration", "k", "query")
    columns = {
        name: ("configuration", np.array(column)) for name, column in columns_of(configurations).items()
    }
    return xr.Dataset(
        {
            "value": (("configuration", "metric", "k", "query"), value),
            "expected_recall": (
                over_ties,
                np.full(ties, np.nan, np.float32) if expected_recall is None else expected_recall,
            ),
            "tie_cut": (over_ties, np.zeros(ties, np.bool_) if tie_cut is None else tie_cut),
        },
        coords={**columns, "metric": list(metrics), "k": np.array(ks, np.int32)},
        attrs={"model": model, "dataset": dataset, "undertrained": sorted(undertrained)},
    )


def shuffled(data: xr.Dataset, *keep: str, seed: int = 0) -> xr.Dataset:
    """The data with every dimension but ``keep`` in another order, and the dimensions themselves too."""
    random = np.random.RandomState(seed)
    order: dict[Any, Any] = {
        name: random.permutation(size) for name, size in data.sizes.items() if name not in keep
    }
    dims = [str(name) for name in data.sizes]
    return data.isel(order).transpose(*random.permutation(dims).tolist(), missing_dims="ignore")
