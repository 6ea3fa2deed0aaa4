"""Regimes of two codecs of the same size: limits, selection of configurations, the table, the picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.quality.figures import UNDERTRAINED
from analysis.quality.regimes import (
    COLUMNS,
    REGIMES,
    Side,
    classify,
    compare,
    count_regimes,
)
from analysis.report.tables import csv_text
from store.artifacts.configuration import Configuration
from store.errors import InvalidInput
from tests.analysis.quality.labelled_cells import labelled_cell, shuffled

METRICS, KS = ("recall", "ndcg"), (1, 10)
QUERIES = 400
BINARY, PQ = Side("phase1"), Side("pq")
SETTINGS: dict[str, Any] = {
    "metric": "recall",
    "k": 10,
    "margin": 0.02,
    "draws": 999,
    "seed": 0,
    "confidence": 0.95,
}


def rows_of(*arguments: Any, **settings: Any) -> list[Any]:
    """The rows of `compare`, each with its columns as attributes."""
    return list(compare(*arguments, **settings).itertuples(index=False))


def configuration(
    codec: str, size: int, seed: int = 0, scoring: str = "hamming", **more: Any
) -> Configuration:
    return Configuration(codec, more.pop("variant", ""), scoring, 8 * size, size, seed=seed, **more)


def cell(
    model: str = "m",
    dataset: str = "d",
    *,
    configurations: list[Configuration] | None = None,
    found: list[float] | None = None,
    undertrained: frozenset[str] = frozenset(),
) -> xr.Dataset:
    """Every configuration finds the first share of the queries; the seeds are those of a stream for Recall@10."""
    configurations = configurations or [configuration("phase1", 8), configuration("pq", 8)]
    found = found or [0.5] * len(configurations)
    value = np.full((len(configurations), len(METRICS), len(KS), QUERIES), 0.25, np.float32)
    for one, share in zip(value, found, strict=True):
        one[0, 1] = np.arange(QUERIES) < round(share * QUERIES)
    return labelled_cell(
        model, dataset, configurations, METRICS, KS, value, undertrained=sorted(undertrained)
    )


# ---- limits ----


def test_regimes_are_checked_in_their_order() -> None:
    low = np.array([-0.9, -0.3, 0.01, 0.001, -0.02, -0.0201, -0.01, -0.3, 0.0])
    high = np.array([-0.0201, -0.02, 0.50, 0.002, 0.02, 0.02, 0.0201, 0.3, 0.02])
    assert classify(low, high, 0.02).tolist() == [
        "clearly worse",
        "undecided",
        "preferable",
        # Within the margin too, but above 0 comes first.
        "preferable",
        "competitive",
        "undecided",
        "undecided",
        "undecided",
        "competitive",
    ]
    assert classify(np.array([[-0.1, 0.1]]), np.array([[-0.05, 0.2]]), 0.02).tolist() == [
        [REGIMES[0], REGIMES[1]]
    ]


@pytest.mark.parametrize("margin", [0.0, -0.02, float("nan")])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(InvalidInput, match=r"margin: expected a difference above 0, got"):
        classify(np.zeros(1), np.zeros(1), margin)


# ---- the family ----


def test_every_regime_from_planted_differences() -> None:
    sizes = (8, 16, 32, 64)
    configurations = [configuration(codec, size) for codec in ("phase1", "pq") for size in sizes]
    one = cell(configurations=configurations, found=[0.3, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.52])
    table = compare([one], BINARY, PQ, **SETTINGS)
    rows: list[Any] = list(table.itertuples(index=False))
    assert [row.bytes_per_vector for row in rows] == list(sizes)
    assert [row.regime for row in rows] == ["clearly worse", "preferable", "competitive", "undecided"]
    np.testing.assert_allclose([row.difference for row in rows], [-0.2, 0.1, 0, -0.02], atol=1e-12)
    assert count_regimes(table) == {"clearly worse": 1, "preferable": 1, "competitive": 1, "undecided": 1}
    assert list(count_regimes(table)) == list(REGIMES)
    assert count_regimes(table[:1])["undecided"] == 0
    for row in rows:
        assert row.simultaneous_low <= row.ci_low <= row.difference <= row.ci_high <= row.simultaneous_high
        assert row.p_value <= row.p_holm <= 1
    assert [row.p_holm for row in rows[:2]] == [4 * 0.002] * 2
    assert rows[2].p_holm == 1


def test_values_are_means_over_seeds_of_the_named_metric_and_k() -> None:
    configurations = [
        *(configuration("pq", 8, seed) for seed in (0, 1)),
        *(configuration("phase1", 8, seed) for seed in (0, 1, 2)),
    ]
    one = cell(configurations=configurations, found=[0.5, 0.7, 0.1, 0.2, 0.6])
    (row,) = rows_of([one], BINARY, PQ, **SETTINGS)
    np.testing.assert_allclose(
        (row.first_value, row.second_value, row.difference), (0.3, 0.6, -0.3), atol=1e-9
    )
    assert (row.first, row.second, row.bits, row.metric, row.k) == ("phase1", "pq", 64, "recall", 10)
    assert (row.first_seeds, row.second_seeds, row.n_queries) == (3, 2, QUERIES)
    (other,) = rows_of([one], BINARY, PQ, **{**SETTINGS, "metric": "ndcg", "k": 1})
    assert (other.first_value, other.difference, other.metric, other.k) == (0.25, 0, "ndcg", 1)


def test_the_family_is_every_cell_and_size_that_both_codecs_have() -> None:
    both = [configuration(codec, size) for codec in ("phase1", "pq") for size in (8, 16)]
    cells = [
        cell("m", "d", configurations=both),
        cell(
            "n",
            "d",
            configurations=[configuration("phase1", 8), configuration("phase1", 32), configuration("pq", 8)],
        ),
        cell("n", "e", configurations=[configuration("phase1", 16), configuration("pq", 64)]),
        cell("m", "e", configurations=[configuration("int8", 16)]),
    ]
    rows = rows_of(cells, BINARY, PQ, **SETTINGS)
    assert [(row.model, row.dataset, row.bytes_per_vector) for row in rows] == [
        ("m", "d", 8),
        ("m", "d", 16),
        ("n", "d", 8),
    ]


def test_the_codecs_may_be_exchanged() -> None:
    stream = np.random.RandomState(0)
    cells = [cell("m", "d"), cell("n", "d"), cell("m", "e")]
    for measured in cells:
        measured["value"][...] = stream.rand(*measured["value"].shape) < 0.6
    there, back = rows_of(cells, BINARY, PQ, **SETTINGS), rows_of(cells, PQ, BINARY, **SETTINGS)
    for one, other in zip(there, back, strict=True):
        assert (one.difference, one.p_holm) == (-other.difference, other.p_holm)
        np.testing.assert_allclose(one.simultaneous_low, -other.simultaneous_high, atol=1e-12)


def test_models_share_the_draws_of_a_dataset() -> None:
    stream = np.random.RandomState(1)
    value = stream.rand(2, len(METRICS), len(KS), QUERIES) < 0.5
    same, apart = [[cell("m", "d"), cell("n", dataset)] for dataset in ("d", "e")]
    for measured in (*same, *apart):
        measured["value"][...] = value
    first, second = rows_of(same, BINARY, PQ, **SETTINGS)
    assert second._replace(model="m") == first
    other_first, other_second = rows_of(apart, BINARY, PQ, **SETTINGS)
    assert (other_first.ci_low, other_first.p_value) == (first.ci_low, first.p_value)
    assert other_second.p_value != first.p_value
    # Draws apart have a larger maximum.
    assert other_first.simultaneous_high > first.simultaneous_high


def test_flags_go_with_either_codec() -> None:
    names: tuple[set[str], ...] = ({"pq"}, {"phase1"}, {"opq"}, set())
    cells = [cell(f"m{i}", undertrained=frozenset(codecs)) for i, codecs in enumerate(names)]
    rows = rows_of(cells, BINARY, PQ, **SETTINGS)
    assert [row.flags for row in rows] == [UNDERTRAINED, UNDERTRAINED, "", ""]


def test_a_side_is_a_codec_with_its_variant_and_scoring() -> None:
    configurations = [
        configuration("sign", 8, -1),
        configuration("sign", 8, -1, variant="mean"),
        configuration("sign", 8, -1, variant="mean", scoring="asymmetric"),
        configuration("sign", 8, -1, rescore="int8", oversample=4, rescore_bytes=64),
        configuration("pq", 8, 0, scoring="inner-product"),
    ]
    one = cell(configurations=configurations, found=[0.1, 0.2, 0.3, 0.4, 0.5])

    def value(side: Side) -> tuple[str, float]:
        (row,) = rows_of([one], side, PQ, **SETTINGS)
        return row.first, round(row.first_value, 6)

    assert value(Side("sign")) == ("sign", 0.1)
    assert value(Side("sign", "mean")) == ("sign-mean", 0.2)
    assert value(Side("sign", "mean", "asymmetric")) == ("sign-mean-asymmetric", 0.3)
    (row,) = rows_of([one], Side("sign", "mean", "asymmetric"), Side("sign", "mean"), **SETTINGS)
    assert round(row.difference, 6) == 0.1


# ---- the table ----


def test_the_table_reads_back() -> None:
    rows = compare([cell(found=[0.5, 0.7])], BINARY, PQ, **SETTINGS)
    (read,) = csv.DictReader(io.StringIO(csv_text(rows)))
    assert tuple(read) == COLUMNS
    assert (read["model"], read["regime"], read["difference"], read["p_holm"]) == (
        "m",
        "clearly worse",
        "-0.2",
        "0.002",
    )
    assert csv_text(rows) == csv_text(compare([cell(found=[0.5, 0.7])], BINARY, PQ, **SETTINGS))


def test_no_order_of_dimensions_or_labels_changes_the_table() -> None:
    stream = np.random.RandomState(2)
    both = [
        configuration(codec, size, seed) for codec in ("phase1", "pq") for size in (8, 16) for seed in (0, 1)
    ]
    cells = [cell("m", "d", configurations=both), cell("n", "d", configurations=both)]
    for measured in cells:
        measured["value"][...] = stream.rand(*measured["value"].shape) < 0.6
    # Queries keep their order: it says which of them a draw takes.
    moved = [shuffled(one, "query", seed=seed) for seed, one in enumerate(cells)]
    rows, other = compare(cells, BINARY, PQ, **SETTINGS), compare(moved, BINARY, PQ, **SETTINGS)
    assert csv_text(other) == csv_text(rows)
    backwards = compare(moved[::-1], BINARY, PQ, **SETTINGS).sort_values(
        ["model", "bytes_per_vector"], ignore_index=True
    )
    assert csv_text(backwards) == csv_text(rows)


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: compare([cell()], BINARY, Side("opq"), **SETTINGS),
            "first, second: no cell has phase1 and opq at the same bytes per vector; name two codecs",
        ),
        (lambda: compare([], BINARY, PQ, **SETTINGS), "first, second: no cell has phase1 and pq"),
        (
            lambda: compare([cell()], BINARY, PQ, **{**SETTINGS, "metric": "map"}),
            "metric: map was not measured; choose from recall, ndcg",
        ),
        (
            lambda: compare([cell()], BINARY, PQ, **{**SETTINGS, "k": 7}),
            "k: 7 was not measured; choose from 1, 10",
        ),
        (
            lambda: compare([cell()], BINARY, PQ, **{**SETTINGS, "margin": 0}),
            "margin: expected a difference above 0",
        ),
        (lambda: compare([cell()], BINARY, PQ, **{**SETTINGS, "draws": 38}), "draws: 38 are too few"),
        (
            lambda: compare(
                [
                    cell(
                        configurations=[
                            configuration("pq", 8),
                            configuration("pq", 8, scoring="inner-product"),
                        ]
                    )
                ],
                PQ,
                PQ,
                **SETTINGS,
            ),
            "pq: m × d has several of 8 bytes per vector; name the scoring",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], pd.DataFrame], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
