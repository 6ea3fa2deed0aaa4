"""Predictions beside measurements: what is joined, in which order, and the errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.quality.per_query import METRICS
from analysis.report.tables import csv_text
from analysis.theory.compare import COLUMNS, beside, errors, predictable
from store.artifacts.configuration import Configuration
from tests.analysis.quality.labelled_cells import labelled_cell, shuffled

K, QUERIES = (1, 10), 4


def phase1(size: int, seed: int, scoring: str = "hamming", **rest: Any) -> Configuration:
    return Configuration("phase1", "", scoring, 8 * size, size, seed=seed, **rest)


PLAIN = tuple(phase1(size, seed) for size in (8, 16) for seed in (0, 1, 2))
RESCORED = tuple(phase1(8, seed, rescore="float32", oversample=5, rescore_bytes=64) for seed in (0, 1, 2))
OTHERS = (
    phase1(8, 0, "asymmetric"),
    phase1(8, 0, rescore="int8", oversample=5, rescore_bytes=16),
    Configuration("sign", "", "hamming", 64, 8),
    Configuration("pq", "", "adc", 64, 8, seed=0),
)


def quality(model: str, seed: int) -> xr.Dataset:
    draw = np.random.RandomState(seed)
    found = (*OTHERS, *RESCORED, *PLAIN)
    value = draw.uniform(size=(len(found), len(METRICS), len(K), QUERIES)).astype(np.float32)
    value[np.array([one.rescore != "" for one in found]), :, 0] = np.nan
    return labelled_cell(model, "d", found, METRICS, K, value)


def predicted(seed: int, bits: tuple[int, ...] = (64, 128)) -> xr.Dataset:
    value = np.random.RandomState(seed).uniform(size=(2, len(bits), 2, len(K)))
    value[0, :, 1] = value[1, :, 1, 0] = np.nan
    return xr.Dataset(
        {"value": (("metric", "bits", "oversample", "k"), value)},
        coords={"metric": ["recall", "overlap"], "bits": list(bits), "oversample": [0, 5], "k": list(K)},
    )


def table() -> pd.DataFrame:
    return beside([predicted(1), predicted(2)], [predictable(quality("m", 3)), predictable(quality("n", 4))])


def test_only_phase1_codes_as_they_are_or_rescored_by_floats_are_predictable() -> None:
    chosen = predictable(quality("m", 0))
    assert list(chosen.data_vars) == ["value"]
    kept = set(zip(chosen.codec.values, chosen.scoring.values, chosen.rescore.values, strict=True))
    assert kept == {("phase1", "hamming", ""), ("phase1", "hamming", "float32")}
    assert chosen.sizes["configuration"] == len(PLAIN) + len(RESCORED)


def test_a_row_is_a_prediction_and_the_mean_over_seeds_and_queries() -> None:
    rows = table()
    assert tuple(rows) == COLUMNS
    of_cell = [
        (64, "", 0, "recall", 1), (64, "", 0, "recall", 10), (64, "", 0, "overlap", 1), (64, "", 0, "overlap", 10),
        (64, "float32", 5, "overlap", 10),
        (128, "", 0, "recall", 1), (128, "", 0, "recall", 10), (128, "", 0, "overlap", 1), (128, "", 0, "overlap", 10),
    ]  # fmt: skip
    found = list(
        rows[["model", "bits", "rescore", "oversample", "metric", "k"]].itertuples(index=False, name=None)
    )
    assert found == [(model, *one) for model in ("m", "n") for one in of_cell]
    assert set(rows["n_seeds"]) == {3}
    assert set(rows["n_queries"]) == {QUERIES}
    row: Any
    for row in rows.itertuples():
        cell, expected = (
            (quality("m", 3), predicted(1)) if row.model == "m" else (quality("n", 4), predicted(2))
        )
        labels: Any = {"metric": row.metric, "k": row.k}
        searched = [
            one.codec == "phase1"
            and (one.scoring, one.bits, one.rescore) == ("hamming", row.bits, row.rescore)
            for one in (*OTHERS, *RESCORED, *PLAIN)
        ]
        measured = cell["value"].sel(labels).values[np.array(searched)]
        assert row.measured == pytest.approx(measured.mean(dtype=float))
        assert row.predicted == float(
            expected["value"].sel(**labels, bits=row.bits, oversample=row.oversample)
        )
        assert row.difference == row.predicted - row.measured


def test_what_was_not_measured_or_not_predicted_is_left_out() -> None:
    rows = beside([predicted(1, (128, 256))], [predictable(quality("m", 3))])
    assert set(rows["bits"]) == {128}
    assert set(rows["oversample"]) == {0}


def test_the_order_of_a_cell_changes_no_figure() -> None:
    moved = [predictable(shuffled(quality(name, seed))) for name, seed in (("m", 3), ("n", 4))]
    pd.testing.assert_frame_equal(beside([predicted(1), shuffled(predicted(2))], moved), table())


def test_errors_are_over_cells_and_lengths() -> None:
    rows = pd.DataFrame(
        [
            ("float32", 5, "overlap", 10, -0.0),
            ("", 0, "recall", 10, 0.01),
            ("", 0, "recall", 10, -0.03),
            ("", 0, "recall", 5, 0.005),
        ],
        columns=["rescore", "oversample", "metric", "k", "difference"],
    )
    assert csv_text(errors(rows)) == (
        "rescore,oversample,metric,k,mean_error,greatest_error,mean_difference,points\n"
        ",0,recall,5,0.005,0.005,0.005,1\n"
        ",0,recall,10,0.02,0.03,-0.01,2\n"
        "float32,5,overlap,10,0.0,0.0,0.0,1\n"
    )
