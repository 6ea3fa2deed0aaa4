"""From per-query quality to figures: group over seeds, mean over seeds, interval over queries.

The quality of a cell is, as in its leaves, an ``xr.Dataset`` over (configuration, metric, k, query): ``value``
float32, ``expected_recall`` float32 and ``tie_cut`` bool without the metric, the columns of `Configuration` as
coordinates along ``configuration``, and ``model``, ``dataset`` and ``undertrained`` (codecs to be flagged) as
attributes. Values are NaN at cut-offs at which a configuration was not evaluated. Dimensions and labels may come in
any order. Definitions: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.intervals.bootstrap import mean_intervals, query_means, seed_spread
from analysis.quality.per_query import METRICS
from store.artifacts.configuration import COLUMNS
from store.errors import InvalidInput

if TYPE_CHECKING:
    import xarray as xr

DIGITS = 6
"""Decimals of figures written for people; the lake keeps them all."""

UNDERTRAINED = "pq-undertrained"
"""Flag of a configuration fitted on fewer than 39 points a centroid."""

_DIMS = ("configuration", "metric", "k", "query")

WITHOUT_SEED = tuple(name for name in COLUMNS if name != "seed")
"""What distinguishes two configurations once their seeds are averaged."""


def cell_name(cell: xr.Dataset) -> str:
    """The cell as messages name it."""
    return f"{cell.attrs['model']} × {cell.attrs['dataset']}"


def join(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The parts of one cell's quality as one, along ``configuration``.

    Raises InvalidInput where the parts were evaluated at other metrics or cut-offs, or on another number of queries.
    """
    import xarray as xr

    first = parts[0]
    for part in parts:
        for name in ("metric", "k"):
            if set(part[name].values.tolist()) != set(first[name].values.tolist()):
                raise InvalidInput(
                    f"{cell_name(first)}: quality is there for other cut-offs than search.k; run `dvc repro`"
                )
        if part.sizes["query"] != first.sizes["query"]:
            raise InvalidInput(
                f"{cell_name(first)}: quality is there for {first.sizes['query']} and for "
                f"{part.sizes['query']} queries; run `dvc repro`"
            )
    whole = xr.concat(
        [_ordered(part) for part in parts], "configuration", join="exact", combine_attrs="override"
    )
    return whole.assign_attrs(
        undertrained=sorted({name for part in parts for name in part.attrs["undertrained"]})
    )


def select(data: xr.Dataset, metric: str, k: int) -> xr.Dataset:
    """The data of one metric at one cut-off; InvalidInput names what was measured."""
    for name, wanted in (("metric", metric), ("k", k)):
        labels = data[name].values.tolist()
        if wanted not in labels:
            raise InvalidInput(
                f"{name}: {wanted} was not measured; choose from {', '.join(map(str, labels))}"
            )
    return data.sel(metric=metric, k=k)


def is_plain(cell: xr.Dataset) -> NDArray[np.bool_]:
    """Which configurations are a codec as such: no variant, the codec's own scoring, not re-scored."""
    bare = (cell["variant"] == "") & (cell["rescore"] == "") & (cell["scoring"] != "asymmetric")
    return np.asarray(bare.values, np.bool_)


def seed_groups(cell: xr.Dataset) -> list[NDArray[np.intp]]:
    """Positions of the configurations that differ in nothing but their seed.

    Groups come in the order of their columns, the seeds of a group in rising order.
    """
    rows = list(zip(*(cell[name].values.tolist() for name in (*WITHOUT_SEED, "seed")), strict=True))
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    return [np.array(list(group), np.intp) for _, group in groupby(order, key=lambda i: rows[i][:-1])]


def over_seeds(cell: xr.Dataset) -> xr.Dataset:
    """Quality averaged over seeds.

    ``value`` (configuration, metric, k, query) float64, ``n_seeds`` and ``undertrained`` (configuration); the
    configurations have no seed any more and come in the order of their columns.
    """
    cell = _ordered(cell)
    groups, values = seed_groups(cell), cell["value"].values
    first = cell[[*WITHOUT_SEED]].isel(configuration=[rows[0] for rows in groups]).drop_vars("seed")
    return (
        first.assign_coords(metric=cell["metric"], k=cell["k"])
        .assign(
            value=(_DIMS, np.stack([values[rows].mean(axis=0, dtype=np.float64) for rows in groups])),
            n_seeds=("configuration", np.array([len(rows) for rows in groups], np.int32)),
            undertrained=first["codec"].isin(cell.attrs["undertrained"]),
        )
        .assign_attrs(cell.attrs)
    )


def figures_of(cell: xr.Dataset) -> xr.Dataset:
    """The figures of a cell without their intervals: `over_seeds` with the mean over queries as ``value``.

    ``value`` is (configuration, metric, k) float64, NaN where a configuration was not evaluated.
    """
    means = over_seeds(cell)
    (value,) = _each_series(means["value"].values, 1, lambda values: [query_means(values)])
    return means.assign(value=(_DIMS[:-1], value))


def summarise(cell: xr.Dataset, *, draws: int, seed: int, confidence: float) -> xr.Dataset:
    """Every figure of a cell with its interval.

    ``value``, ``ci_low``, ``ci_high`` and ``seed_sd`` (configuration, metric, k), ``expected_recall`` and
    ``tie_share`` (configuration, k), all float64 and NaN where a configuration was not evaluated or, for the last two,
    distances are not Hamming; ``n_seeds`` and ``undertrained`` (configuration), and ``n_queries``. Model and dataset
    are coordinates. Raises InvalidInput for a configuration that was evaluated for some queries only, and as
    `mean_intervals`.
    """
    cell = _ordered(cell)
    means, groups = over_seeds(cell), seed_groups(cell)
    figures = _each_series(
        means["value"].values, 1, lambda values: mean_intervals(values, draws, seed, confidence)
    )
    values, expected, cut = (cell[name].values for name in ("value", "expected_recall", "tie_cut"))
    spread = [
        _each_series(np.moveaxis(values[rows], 0, -2), 2, lambda one: [seed_spread(one)])[0]
        for rows in groups
    ]
    ties = [
        np.stack([one[rows].mean(axis=(0, 2), dtype=np.float64) for rows in groups])
        for one in (expected, cut)
    ]
    of_series, of_ties = _DIMS[:-1], ("configuration", "k")
    return means.assign(
        {name: (of_series, one) for name, one in zip(("value", "ci_low", "ci_high"), figures, strict=True)}
        | {
            "seed_sd": (of_series, np.stack(spread)),
            "expected_recall": (of_ties, ties[0]),
            "tie_share": (of_ties, np.where(np.isnan(ties[0]), np.nan, ties[1])),
            "n_queries": np.int32(cell.sizes["query"]),
        }
    ).assign_coords(model=cell.attrs["model"], dataset=cell.attrs["dataset"])


def _ordered(cell: xr.Dataset) -> xr.Dataset:
    """The quality in memory, with its dimensions and labels in one order: no figure depends on that of the cell."""
    labels = cell["metric"].values.tolist()
    metrics = sorted(labels, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS))
    # Read whole before it is sorted: selecting labels from chunks takes many times the memory.
    ordered = cell.compute().sel(metric=metrics).sortby("k").transpose(*_DIMS, missing_dims="ignore")
    # Contiguous, because the order of a sum follows that of the bytes.
    arrays = {
        name: (array.dims, np.ascontiguousarray(array.values)) for name, array in ordered.data_vars.items()
    }
    return ordered.assign(arrays)


def _each_series(
    values: NDArray[Any], axes: int, of: Callable[[NDArray[Any]], Sequence[NDArray[np.float64]]]
) -> list[NDArray[np.float64]]:
    """What ``of`` makes of the evaluated series, each array without the last ``axes`` of ``values``; NaN elsewhere."""
    evaluated = ~np.isnan(values).all(axis=tuple(range(-axes, 0)))
    results = []
    for found in of(values[evaluated]):
        whole = np.full(evaluated.shape, np.nan)
        whole[evaluated] = found
        results.append(whole)
    return results
