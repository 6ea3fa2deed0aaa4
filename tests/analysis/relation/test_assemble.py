"""From the cube and the geometry to the points of E8."""

from __future__ import annotations

import numpy as np

from analysis.relation.assemble import assemble

CELLS = [("m", "d"), ("m", "e"), ("n", "d")]
BITS = [64, 128, 256]


def test_points_are_cells_times_lengths_with_slopes_that_name_their_source() -> None:
    geometry = {cell: {"documents_mean_cosine": 0.1 * i} for i, cell in enumerate(CELLS)}
    recall = {cell: np.array([0.1, 0.2, 0.3]) + 0.1 * i for i, cell in enumerate(CELLS)}
    overlap = {cell: np.array([0.3, 0.5, 0.9]) for cell in CELLS}
    float_recall = dict.fromkeys(CELLS, 0.5)
    points = assemble(geometry, {"recall": recall, "overlap": overlap}, float_recall, BITS, 10)
    assert points.model.tolist() == ["m"] * 6 + ["n"] * 3
    assert points.bits.tolist() == BITS * 3
    assert points.features["documents_mean_cosine"].tolist() == [0.0] * 3 + [0.1] * 3 + [0.2] * 3
    np.testing.assert_allclose(points.features["slope_recall"], 0.1)
    np.testing.assert_allclose(points.features["slope_overlap"], 0.3)
    np.testing.assert_allclose(points.targets["retention@10"][:3], [0.2, 0.4, 0.6])
    np.testing.assert_allclose(points.targets["recall@10"][3:6], [0.2, 0.3, 0.4])
    assert points.sources == {
        "recall@10": "recall@10",
        "slope_recall": "recall@10",
        "retention@10": "recall@10",
        "overlap@10": "overlap@10",
        "slope_overlap": "overlap@10",
    }


def test_one_length_has_no_slope_and_nothing_found_retains_nothing() -> None:
    geometry = {("m", "d"): {"documents_mean_cosine": 0.1}}
    values = {"recall": {("m", "d"): np.array([0.0])}, "overlap": {("m", "d"): np.array([0.5])}}
    points = assemble(geometry, values, {("m", "d"): 0.0}, [64], 10)
    assert set(points.features) == {"documents_mean_cosine"}
    assert np.isnan(points.targets["retention@10"]).all()
