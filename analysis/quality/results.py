"""From per-query quality to the figures of a study: means, intervals, spread over seeds, and the headline.

One row of the table is a (cell, configuration, metric, k). Values are means over queries of the mean over seeds;
intervals are over queries, and every configuration of a cell meets the same draws. Definitions: docs/quality.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.intervals.bootstrap import bootstrap_means, mean_intervals, query_means, seed_spread
from store.artifacts.configuration import NO_SEED, Configuration

UNDERTRAINED = "pq-undertrained"
"""Flag of a configuration fitted on fewer than 39 points a centroid."""

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

DIGITS = 6
"""Decimals of figures written for people; the cube keeps them all."""


@dataclass(frozen=True, eq=False)
class CellQuality:
    """Per-query quality of one cell: ``value`` (configuration, metric, k, query) float32 and what goes with it.

    ``expected_recall`` and ``tie_cut`` are (configuration, k, query); ``undertrained`` are codecs to be flagged.
    """

    model: str
    dataset: str
    configurations: Sequence[Configuration]
    metrics: Sequence[str]
    ks: Sequence[int]
    value: NDArray[np.float32]
    expected_recall: NDArray[np.float32]
    tie_cut: NDArray[np.bool_]
    undertrained: frozenset[str]


@dataclass(frozen=True, eq=False)
class Summary:
    """The figures of one cell and configuration, seeds averaged; every array is (metric, k), ties (k,)."""

    model: str
    dataset: str
    configuration: Configuration
    metrics: Sequence[str]
    ks: Sequence[int]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seed_sd: NDArray[np.float64]
    expected_recall: NDArray[np.float64]
    tie_share: NDArray[np.float64]
    n_queries: int
    n_seeds: int
    flags: str


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


def gap_rows(gaps: Iterable[Gap]) -> list[dict[str, Any]]:
    """Rows of ``report/results.csv`` that say what is missing: empty but for the cell and the flag."""
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            "model": gap.model,
            "dataset": gap.dataset,
            "flags": f"missing: {gap.text}",
        }
        for gap in gaps
    ]


def is_plain(configuration: Configuration) -> bool:
    """Whether it is a codec as such: no variant, the codec's own scoring, nothing re-ranked."""
    return not configuration.variant and not configuration.rescore and configuration.scoring != "asymmetric"


def seed_groups(cell: CellQuality) -> dict[Configuration, list[int]]:
    """Positions of the configurations that differ in nothing but their seed, by the configuration without one."""
    groups: dict[Configuration, list[int]] = defaultdict(list)
    for index, configuration in enumerate(cell.configurations):
        groups[replace(configuration, seed=NO_SEED)].append(index)
    return dict(sorted(groups.items()))


def over_seeds(cell: CellQuality) -> tuple[list[Configuration], NDArray[np.float64]]:
    """Per-query values averaged over seeds: configurations and (configuration, metric, k, query) float64."""
    groups = seed_groups(cell)
    return list(groups), np.stack(
        [cell.value[rows].mean(axis=0, dtype=np.float64) for rows in groups.values()]
    )


def figures_of(cell: CellQuality) -> tuple[list[Configuration], NDArray[np.float64]]:
    """The figures of a cell without their intervals: configurations and (configuration, metric, k) float64."""
    configurations, values = over_seeds(cell)
    return configurations, query_means(values)


def summarise(cell: CellQuality, *, draws: int, seed: int, confidence: float) -> list[Summary]:
    """Means with intervals of every configuration of a cell."""
    _, values = over_seeds(cell)
    means, lows, highs = mean_intervals(values, draws, seed, confidence)
    found = []
    for index, (configuration, rows) in enumerate(seed_groups(cell).items()):
        found.append(
            Summary(
                model=cell.model,
                dataset=cell.dataset,
                configuration=configuration,
                metrics=cell.metrics,
                ks=cell.ks,
                value=means[index],
                low=lows[index],
                high=highs[index],
                seed_sd=seed_spread(np.moveaxis(cell.value[rows], 0, -2)),
                expected_recall=cell.expected_recall[rows].mean(axis=(0, 2), dtype=np.float64),
                tie_share=cell.tie_cut[rows].mean(axis=(0, 2), dtype=np.float64),
                n_queries=cell.value.shape[-1],
                n_seeds=len(rows),
                flags=UNDERTRAINED if configuration.codec in cell.undertrained else "",
            )
        )
    return found


def table(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Rows of ``report/results.csv``: one per (cell, configuration, metric, k), in the order of the summaries."""
    rows = []
    for found in summaries:
        shared = {
            name: getattr(found.configuration, name) for name in COLUMNS if hasattr(found.configuration, name)
        }
        for i, metric in enumerate(found.metrics):
            for j, k in enumerate(found.ks):
                rows.append(
                    {
                        "model": found.model,
                        "dataset": found.dataset,
                        **shared,
                        "metric": metric,
                        "k": k,
                        "value": found.value[i, j],
                        "ci_low": found.low[i, j],
                        "ci_high": found.high[i, j],
                        "seed_sd": found.seed_sd[i, j],
                        "n_queries": found.n_queries,
                        "n_seeds": found.n_seeds,
                        "flags": found.flags,
                    }
                )
    return rows


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV: figures rounded to `DIGITS` decimals, NaN as an empty field."""
    lines = [",".join(columns)]
    lines.extend(",".join(_cell(row[name]) for name in columns) for row in rows)
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        # + 0.0 so that a rounded negative zero is not written with its sign.
        return "" if np.isnan(value) else repr(round(float(value), DIGITS) + 0.0)
    text = str(value)
    return f'"{text}"' if "," in text or '"' in text else text


def cube(
    summaries: Sequence[Summary], cells: Sequence[CellQuality], gaps: Sequence[Gap] = ()
) -> dict[str, Any]:
    """The arrays of the results artifact; combinations a study does not have are NaN.

    Only plain configurations (`is_plain`) are in the cube; the table has them all. ``cells`` give its metrics and k.
    What is missing has an array of its own where ``gaps`` name any.
    """
    plain = [s for s in summaries if is_plain(s.configuration)]
    named = [(cell.model, cell.dataset) for cell in cells] + [(gap.model, gap.dataset) for gap in gaps]
    models = list(dict.fromkeys(model for model, _ in named))
    datasets = list(dict.fromkeys(dataset for _, dataset in named))
    codecs = sorted({s.configuration.codec for s in plain})
    bits = sorted({s.configuration.bits for s in plain})
    metrics, ks = list(cells[0].metrics), list(cells[0].ks)
    shape = (len(models), len(datasets), len(codecs), len(bits), len(metrics), len(ks))
    names = ("value", "ci_low", "ci_high", "seed_sd", "expected_recall", "tie_share")
    arrays: dict[str, Any] = {name: np.full(shape, np.nan) for name in names}
    undertrained = np.zeros(shape[:3], np.bool_)
    n_queries = np.zeros(shape[:2], np.int32)
    n_seeds = np.zeros(shape[2:4], np.int32)
    recall = metrics.index("recall")
    for s in plain:
        m, d = models.index(s.model), datasets.index(s.dataset)
        c, b = codecs.index(s.configuration.codec), bits.index(s.configuration.bits)
        for name, values in zip(names, (s.value, s.low, s.high, s.seed_sd), strict=False):
            arrays[name][m, d, c, b] = values
        # Ties bear on recall alone; the other metrics keep NaN.
        arrays["expected_recall"][m, d, c, b, recall] = s.expected_recall
        arrays["tie_share"][m, d, c, b, recall] = np.where(np.isnan(s.expected_recall), np.nan, s.tie_share)
        undertrained[m, d, c] = s.flags == UNDERTRAINED
        n_queries[m, d] = s.n_queries
        n_seeds[c, b] = s.n_seeds
    if gaps:
        missing = np.full(shape[:2], "", np.dtypes.StringDType())
        for gap in gaps:
            missing[models.index(gap.model), datasets.index(gap.dataset)] = gap.text
        arrays["missing"] = missing
    axes = {"model": models, "dataset": datasets, "codec": codecs, "metric": metrics}
    sizes = {"bits": np.array(bits, np.int32), "k": np.array(ks, np.int32)}
    return {
        **axes,
        **sizes,
        **arrays,
        "undertrained": undertrained,
        "n_queries": n_queries,
        "n_seeds": n_seeds,
    }


def headline(
    cells: Sequence[CellQuality],
    *,
    names: Mapping[str, tuple[str, int]],
    versus: tuple[str, str],
    k: int,
    draws: int,
    seed: int,
    confidence: float,
) -> dict[str, Any]:
    """The few figures that DVC shows: mean Recall@k over cells of each named (codec, bits), and one contrast.

    ``names`` maps a metric's name to its configuration; a bits of 0 takes the codec's only length. ``versus`` names
    the two whose difference is given with its interval: queries are resampled within each dataset, the same draw
    for its models.
    """
    per_cell: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for cell in cells:
        configurations, values = over_seeds(cell)
        series = values[:, list(cell.metrics).index("recall"), list(cell.ks).index(k)]
        for name, (codec, bits) in names.items():
            match = [
                i
                for i, c in enumerate(configurations)
                if c.codec == codec and (not bits or c.bits == bits) and is_plain(c)
            ]
            if len(match) == 1:
                per_cell[name].append(series[match[0]])
    complete = {name: found for name, found in per_cell.items() if len(found) == len(cells)}
    figures: dict[str, Any] = {
        f"recall_at_{k}": {
            name: _round(np.mean([v.mean() for v in found])) for name, found in complete.items()
        }
    }
    if set(versus) <= set(complete):
        pairs = zip(complete[versus[0]], complete[versus[1]], strict=True)
        datasets = list(dict.fromkeys(cell.dataset for cell in cells))
        draws_of_mean = np.mean(
            [
                bootstrap_means(a - b, draws, seed + datasets.index(cell.dataset))
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
    # Figures of such cells are marked wherever they stand.
    figures["cells_pq_undertrained"] = sum(bool(cell.undertrained) for cell in cells)
    return figures


def _round(value: Any) -> float:
    return round(float(value), DIGITS) + 0.0
