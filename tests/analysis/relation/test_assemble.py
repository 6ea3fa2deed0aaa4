"""From the figures and the geometry to the points of E8."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.quality.figures import figures_of
from analysis.relation.assemble import assemble, note_samples
from store.artifacts.configuration import Configuration
from store.errors import InvalidInput
from tests.analysis.quality.labelled_cells import labelled_cell, shuffled

CELLS = [("m", "d"), ("m", "e"), ("n", "d")]
BITS = [64, 128, 256]
NAMES: dict[str, Any] = {"codec": "phase1", "reference": "float32", "k": 10}


def geometry(cell: tuple[str, str], value: float, sample: int = 300) -> xr.Dataset:
    return xr.Dataset(
        {"value": ("measure", [value, 2 * value]), "sample_size": ("measure", [500, sample])},
        coords={"measure": ["documents_mean_cosine", "documents_hubness"]},
        attrs={"model": cell[0], "dataset": cell[1]},
    )


def figures(
    cell: tuple[str, str],
    recall: list[float],
    overlap: list[float],
    float_recall: float = 0.5,
    bits: list[int] = BITS,
) -> xr.Dataset:
    """A cell whose two queries have these values, of two seeds that differ."""
    plain = [Configuration("phase1", "", "hamming", b, b // 8, seed=s) for b in bits for s in (0, 1)]
    # Neither the variant nor what is re-ranked is the codec as such.
    other = Configuration("phase1", "mean", "hamming", 64, 8)
    value = np.full((len(plain) + 2, 2, 2, 2), 0.9)
    for i in range(len(bits)):
        for metric, values in enumerate((recall, overlap)):
            value[2 * i, metric, 1], value[2 * i + 1, metric, 1] = values[i] - 0.05, values[i] + 0.05
    value[-1, 0, 1] = float_recall
    configurations = [*plain, other, Configuration("float32", "", "inner-product", 2048, 256)]
    return figures_of(
        labelled_cell(*cell, configurations, ["recall", "overlap"], [1, 10], value.astype(np.float32))
    )


def study() -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    return [geometry(cell, 0.1 * i) for i, cell in enumerate(CELLS)], [
        figures(cell, [0.1 + 0.1 * i, 0.2 + 0.1 * i, 0.3 + 0.1 * i], [0.3, 0.5, 0.9])
        for i, cell in enumerate(CELLS)
    ]


def test_points_are_cells_times_lengths_with_slopes_that_name_their_source() -> None:
    points = assemble(*study(), **NAMES)
    assert list(zip(points["model"].values, points["dataset"].values, strict=True)) == CELLS
    assert points["bits"].values.tolist() == BITS
    np.testing.assert_allclose(points["documents_mean_cosine"], [0.0, 0.1, 0.2])
    np.testing.assert_allclose(points["documents_hubness"], [0.0, 0.2, 0.4])
    np.testing.assert_allclose(points["slope_recall"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(points["slope_overlap"], 0.3, rtol=1e-6)
    np.testing.assert_allclose(points["retention@10"][0], [0.2, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(points["recall@10"][1], [0.2, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(points["overlap@10"][2], [0.3, 0.5, 0.9], rtol=1e-6)
    assert {name: values.attrs["source"] for name, values in points.items() if "source" in values.attrs} == {
        "recall@10": "recall@10",
        "slope_recall": "recall@10",
        "retention@10": "recall@10",
        "overlap@10": "overlap@10",
        "slope_overlap": "overlap@10",
    }
    assert {name for name, values in points.items() if values.attrs["role"] == "target"} == {
        "recall@10",
        "overlap@10",
        "retention@10",
    }


def test_no_order_of_cells_dimensions_or_labels_changes_a_point() -> None:
    measured, found = study()
    points = assemble(measured, found, **NAMES)
    moved = [shuffled(one, "configuration", seed=seed) for seed, one in enumerate(found)]
    xr.testing.assert_identical(assemble(measured[::-1], moved, **NAMES), points)
    turned = [measured[0], *(shuffled(one) for one in measured[1:])]
    xr.testing.assert_identical(assemble(turned, [shuffled(one) for one in found[::-1]], **NAMES), points)


def test_lengths_are_those_that_every_cell_has() -> None:
    measured, found = study()
    found[1] = figures(CELLS[1], [0.6, 0.4], [0.5, 0.5], bits=[256, 64])
    points = assemble(measured, found, **NAMES)
    assert points["bits"].values.tolist() == [64, 256]
    np.testing.assert_allclose(points["recall@10"][1], [0.4, 0.6], rtol=1e-6)
    found[2] = figures(CELLS[2], [0.4], [0.5], bits=[128])
    with pytest.raises(
        InvalidInput, match=re.escape("correlate.codec: no length of phase1 was searched in every")
    ):
        assemble(measured, found, **NAMES)


def test_one_length_has_no_slope_and_nothing_found_retains_nothing() -> None:
    one = figures(("m", "d"), [0.05], [0.5], float_recall=0.0, bits=[64])
    points = assemble([geometry(("m", "d"), 0.1)], [one], **NAMES)
    features = {name for name, values in points.items() if values.attrs["role"] == "feature"}
    assert features == {"documents_mean_cosine", "documents_hubness"}
    assert np.isnan(points["retention@10"]).all()


def test_what_a_study_lacks_is_named() -> None:
    with pytest.raises(InvalidInput, match="correlate: the study has no cells"):
        assemble([], [], **NAMES)
    message = "correlate.reference: 'int8' is not one of the core's codecs; choose one of float32, phase1"
    with pytest.raises(InvalidInput, match=message):
        assemble(*study(), **{**NAMES, "reference": "int8"})
    with pytest.raises(InvalidInput, match="k: 20 was not measured; choose from 1, 10"):
        assemble(*study(), **{**NAMES, "k": 20})


def test_samples_of_different_sizes_are_noted_and_equal_ones_are_not() -> None:
    measured, of_cells = study()
    rows = pd.DataFrame(
        {
            "feature": ["documents_mean_cosine", "documents_hubness", "documents_hubness", "slope_recall"],
            "note": ["", "", "is constant", ""],
        }
    )
    assert note_samples(rows, assemble(measured, of_cells, **NAMES)).equals(rows)
    measured[1] = geometry(CELLS[1], 0.1, sample=225)
    noted = note_samples(rows, assemble(measured, of_cells, **NAMES))
    said = "measured on 225 to 300 rows"
    assert noted["note"].tolist() == ["", said, f"is constant; {said}", ""]
