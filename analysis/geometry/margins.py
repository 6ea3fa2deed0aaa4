"""Sign margins: how far from zero the numbers are whose signs become bits.

Over random Gaussian directions w alone, w·x/‖x‖ is standard normal for every x, so unscaled margins of
Gaussian projections say nothing about a cell. What differs between cells is the margin relative to the spread
that the same projection has over the rows, and the margin of the native coordinates. See docs/geometry.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.geometry.intervals import Replicates, row_groups

Array = NDArray[np.float64]

# Spread below this share of the largest projection is rounding: stored vectors have at most seven digits.
_ROUNDING = 1e-12


def projection_margins(projections: Array) -> Array:
    """|w·x| / sd(w·x), the standard deviation over the rows; (n, w) to (n, ≤w): no spread, no column."""
    spread = projections.std(axis=0)
    live = spread > _ROUNDING * np.abs(projections).max()
    return np.asarray(np.abs(projections[:, live]) / spread[live], np.float64)


def coordinate_margins(vectors: Array) -> Array:
    """|x_j| · √d / ‖x‖ of the native coordinates, (n, d): 1 in root mean square for each row."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.abs(vectors) * (np.sqrt(vectors.shape[1]) / lengths), np.float64)


def margin_measures(margins: Array, near: float, prefix: str) -> dict[str, float]:
    """Median of the margins and the share of them below ``near``; NaN where there is none."""
    if margins.size == 0:
        return {f"{prefix}_median": float("nan"), f"{prefix}_near_share": float("nan")}
    return {
        f"{prefix}_median": _median(margins.ravel()),
        f"{prefix}_near_share": float(np.mean(margins < near)),
    }


def _median(values: Array) -> float:
    # np.median also looks for NaN, which costs more than the median itself and cannot be here.
    middle = len(values) // 2
    parted = np.partition(values, middle)
    below = parted[:middle].max() if len(values) % 2 == 0 else parted[middle]
    return float((below + parted[middle]) / 2)


def projection_replicates(
    projections: Array, group: NDArray[np.intp], groups: int, near: float
) -> Replicates:
    """Margins of the projections (n, w), with groups of rows left out and groups of directions left out."""

    def measures(part: Array) -> dict[str, float]:
        return margin_measures(projection_margins(part), near, "sign_margin")

    direction_group = row_groups(projections.shape[1], groups)
    return Replicates(
        measures(projections),
        (
            [measures(projections[group != g]) for g in range(groups)],
            [measures(projections[:, direction_group != g]) for g in range(groups)],
        ),
    )


def coordinate_replicates(vectors: Array, group: NDArray[np.intp], groups: int, near: float) -> Replicates:
    """Margins of the native coordinates of the rows (n, d), with groups of rows left out."""
    margins = coordinate_margins(vectors)

    def measures(part: Array) -> dict[str, float]:
        return margin_measures(part, near, "coordinate_margin")

    return Replicates(measures(margins), ([measures(margins[group != g]) for g in range(groups)],))
