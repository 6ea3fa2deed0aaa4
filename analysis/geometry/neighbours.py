"""Measures of a point cloud that follow from nearest neighbours: intrinsic dimension and hubness.

Neighbours are exact. One list per point, long enough to lose any one group, serves all measures and
intervals. Formulae and sources: docs/geometry.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.geometry.intervals import Replicates
from store.numerics.products import product

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_BLOCK = 512
# Products are within 2⁻⁴⁴ of the norms: below this share of these, ‖a‖² + ‖b‖² − 2a·b keeps fewer than eight digits.
_CANCELLED = 1e-5


@dataclass(frozen=True)
class Neighbours:
    """Nearest rows of each point, by distance, then row: ``rows`` and ``distances`` are (points, depth)."""

    rows: Rows
    distances: Array

    def nearest(self, k: int) -> Neighbours:
        """The first k of each list."""
        return Neighbours(self.rows[:, :k], self.distances[:, :k])

    def without(self, k: int, keep_point: NDArray[np.bool_], keep_row: NDArray[np.bool_]) -> Neighbours:
        """The k nearest kept rows of the kept points, exact while at most depth − k rows are dropped."""
        rows, distances = self.rows[keep_point], self.distances[keep_point]
        kept = keep_row[rows]
        first = kept & (np.cumsum(kept, axis=1) <= k)
        return Neighbours(rows[first].reshape(-1, k), distances[first].reshape(-1, k))


def nearest_rows(points: Array, rows: Array, depth: int, *, same: bool) -> Neighbours:
    """The ``depth`` Euclidean nearest of ``rows`` (n, d) for each of ``points`` (p, d), in float64.

    With ``same`` the points are the rows, none is its own neighbour and depth < n; otherwise depth ≤ n.
    Distances that cancellation would spoil are computed again from the differences: copies are at exactly 0. The
    order, ties included, is the same on every machine.
    """
    row_norms = np.square(rows).sum(axis=1)
    found_rows, found_distances = [], []
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        norms = np.square(block).sum(axis=1)[:, None] + row_norms
        squared = norms - 2 * product(block, rows.T)
        close_point, close_row = np.nonzero(squared < _CANCELLED * norms)
        for pairs in range(0, len(close_point), _BLOCK):
            a, b = close_point[pairs : pairs + _BLOCK], close_row[pairs : pairs + _BLOCK]
            squared[a, b] = np.sum((block[a] - rows[b]) ** 2, axis=1)
        if same:
            own = np.arange(len(block))
            squared[own, start + own] = np.inf
        chosen = _smallest(squared, depth)
        values = np.take_along_axis(squared, chosen, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        found_rows.append(np.take_along_axis(chosen, order, axis=1))
        found_distances.append(np.sqrt(np.take_along_axis(values, order, axis=1)))
    return Neighbours(np.concatenate(found_rows), np.concatenate(found_distances))


def _smallest(values: Array, depth: int) -> Rows:
    last = np.partition(values, depth - 1, axis=1)[:, depth - 1, None]
    smaller, tied = values < last, values == last
    room = depth - smaller.sum(axis=1, keepdims=True)
    chosen = smaller | (tied & (np.cumsum(tied, axis=1) <= room))
    return np.nonzero(chosen)[1].reshape(-1, depth)


def two_nn(distances: Array, discard: float) -> float:
    """TwoNN intrinsic dimension (Facco 2017) from ascending neighbour distances (n, ≥2).

    The slope through the origin of −log(1 − F) against log(r₂/r₁), F the empirical distribution, after the
    largest ``discard`` share of the ratios is dropped. Points with a copy (r₁ = 0) are left out; NaN if fewer
    than two ratios remain or all ratios are 1.
    """
    first, second = distances[distances[:, 0] > 0, :2].T
    ratios = np.sort(second / first)
    kept = int(len(ratios) * (1 - discard))
    x = np.log(ratios[:kept])
    scale = float(np.sum(x**2))
    if kept < 2 or scale == 0:
        return float("nan")
    y = -np.log(1 - np.arange(1, kept + 1) / len(ratios))
    return float(np.sum(x * y)) / scale


def mle_dimension(distances: Array, k: int) -> float:
    """Maximum-likelihood intrinsic dimension (Levina & Bickel 2004) from ascending distances (n, ≥k).

    The local inverse is the mean of log(r_k/r_j) over j < k; the inverses are averaged over points and the
    mean inverted (MacKay & Ghahramani 2005). Points with a copy are left out; NaN if none remains or all r_j
    are r_k.
    """
    radii = distances[distances[:, 0] > 0, :k]
    if len(radii) == 0:
        return float("nan")
    inverse = float(np.mean(np.log(radii[:, -1:] / radii[:, :-1])))
    return 1 / inverse if inverse > 0 else float("nan")


def skewness(counts: NDArray[np.intp]) -> float:
    """Third standardised moment E(N − μ)³/σ³ of the counts (n,); 0 if all are equal: there is no hub then."""
    deviation = counts - counts.mean()
    variance = float(np.mean(deviation**2))
    return float(np.mean(deviation**3)) / variance**1.5 if variance > 0 else 0.0


def hubness(rows: Rows, kept: NDArray[np.bool_]) -> float:
    """Skewness of the k-occurrence counts (Radovanović 2010): counts of the kept rows in lists (p, k)."""
    return skewness(np.bincount(rows.ravel(), minlength=len(kept))[kept])


def neighbour_replicates(
    vectors: Array, group: Rows, groups: int, *, hubness_k: int, mle_neighbours: int, twonn_discard: float
) -> Replicates:
    """TwoNN, MLE dimension and hubness of the rows (n, d) and of the rows without each group."""
    depth = max(2, hubness_k, mle_neighbours)
    lists = nearest_rows(vectors, vectors, depth + int(np.bincount(group).max()), same=True)

    def measures(found: Neighbours, kept: NDArray[np.bool_]) -> dict[str, float]:
        return {
            "twonn": two_nn(found.distances, twonn_discard),
            "mle_dimension": mle_dimension(found.distances, mle_neighbours),
            "hubness": hubness(found.rows[:, :hubness_k], kept),
        }

    def without(g: int) -> dict[str, float]:
        kept = group != g
        return measures(lists.without(depth, kept, kept), kept)

    whole = measures(lists.nearest(depth), np.ones(len(vectors), bool))
    return Replicates(whole, ([without(g) for g in range(groups)],))


def query_hubness_replicates(
    documents: Array, queries: Array, document_group: Rows, query_group: Rows, groups: int, k: int
) -> Replicates:
    """Skewness of how often a document is in the k nearest of a query, either side left out in turn."""
    lists = nearest_rows(queries, documents, k + int(np.bincount(document_group).max()), same=False)
    every_document, every_query = np.ones(len(documents), bool), np.ones(len(queries), bool)

    def measure(keep_document: NDArray[np.bool_], keep_query: NDArray[np.bool_]) -> dict[str, float]:
        return {"hubness": hubness(lists.without(k, keep_query, keep_document).rows, keep_document)}

    return Replicates(
        measure(every_document, every_query),
        (
            [measure(document_group != g, every_query) for g in range(groups)],
            [measure(every_document, query_group != g) for g in range(groups)],
        ),
    )
