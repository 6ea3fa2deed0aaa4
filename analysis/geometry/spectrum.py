"""Measures of a point cloud that follow from its first two moments: cosines, spectrum, single dimensions.

All are computed in float64 from sums over rows, so a group of rows is left out by subtracting its sums. Products are
the same on every machine; eigenvalues, exponentials and logarithms of a library differ by less than 1e-12.
Formulae and sources: docs/geometry.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.geometry.intervals import Replicates
from store.numerics.products import product
from store.numerics.spectral import eigen

Array = NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)


def unit_rows(vectors: Array) -> Array:
    """Rows divided by their Euclidean norm; (n, d) to (n, d). Rows must not be zero."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float64)


@dataclass(frozen=True)
class Moments:
    """Sums over rows: ``total`` (d,) of the rows themselves, ``second`` (d, d) of their outer products."""

    count: int
    total: Array
    second: Array

    @classmethod
    def of(cls, rows: Array) -> Moments:
        """Moments of the rows (n, d)."""
        return cls(len(rows), rows.sum(axis=0), product(rows.T, rows))

    def without(self, rows: Array) -> Moments:
        """Moments after the given rows, which must be among those summed, have left."""
        return Moments(
            self.count - len(rows), self.total - rows.sum(axis=0), self.second - product(rows.T, rows)
        )

    def mean(self) -> Array:
        """Mean row, (d,)."""
        return self.total / self.count

    def covariance(self) -> Array:
        """Population covariance (d, d); exact enough only if the rows are nearly centred."""
        mean = self.mean()
        return np.asarray(self.second / self.count - np.outer(mean, mean), np.float64)


def cosine_measures(moments: Moments) -> dict[str, float]:
    """Mean and standard deviation of the cosine over all pairs of rows, and the largest part of a dimension.

    With s the sum and M the second moment of n unit rows, Σ cos = ‖s‖² − n and Σ cos² = ‖M‖² − n over ordered
    pairs; dimension j contributes s_j² − M_jj to the former (Timkey & van Schijndel 2021).
    """
    n = moments.count
    pairs = n * (n - 1)
    contributions = (moments.total**2 - np.diagonal(moments.second)) / pairs
    mean = float(np.sum(moments.total**2) - n) / pairs
    mean_square = float(np.sum(moments.second**2) - n) / pairs
    return {
        "mean_cosine": mean,
        "angular_spread": float(np.sqrt(max(0.0, mean_square - mean**2))),
        "top_dimension_cosine": float(contributions.max()),
    }


def participation_ratio(eigenvalues: Array) -> float:
    """(Σλ)² / Σλ² of non-negative covariance eigenvalues; NaN if all are zero."""
    squares = float(np.sum(eigenvalues**2))
    return float(np.sum(eigenvalues)) ** 2 / squares if squares > 0 else float("nan")


def isoscore(eigenvalues: Array) -> float:
    """IsoScore of the covariance spectrum (d,), in [0, 1] (Rudman 2022, Algorithm 1); NaN if all are zero.

    The spectrum is scaled to length √d and δ is its distance from the ones vector, relative to the largest
    possible one; φ = (d − δ²(d − √d))²/d² is the share of dimensions in use and the score (dφ − 1)/(d − 1).
    """
    d = len(eigenvalues)
    length = float(np.sqrt(np.sum(eigenvalues**2)))
    if length == 0:
        return float("nan")
    scaled = np.sqrt(d) * eigenvalues / length
    defect = np.sqrt(np.sum((scaled - 1) ** 2)) / np.sqrt(2 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return float((d * used - 1) / (d - 1))


def effective_rank(eigenvalues: Array) -> float:
    """exp of the entropy of the normalised singular values √λ (Roy & Vetterli 2007); NaN if all are zero."""
    singular = np.sqrt(eigenvalues)
    total = float(singular.sum())
    if total == 0:
        return float("nan")
    share = singular[singular > 0] / total
    return float(np.exp(-np.sum(share * np.log(share))))


def coordinate_measures(means: Array, variances: Array, cut: float) -> dict[str, float]:
    """Measures of single dimensions from their means (d,) and variances (d,).

    A dimension is an outlier if its mean, or its variance, is more than ``cut`` standard deviations away from
    the average over the dimensions. Where no dimension varies, what is relative to the variance is NaN.
    """
    outlier = _beyond(means, cut) | _beyond(variances, cut)
    total = float(variances.sum())
    varies = total > 0
    return {
        "outlier_dimensions": float(outlier.mean()),
        "top_dimension_variance_share": float(variances.max()) / total if varies else float("nan"),
        "variance_heterogeneity": float(variances.std() / variances.mean()) if varies else float("nan"),
    }


def _beyond(values: Array, cut: float) -> NDArray[np.bool_]:
    deviation = np.abs(values - values.mean())
    spread = float(values.std())
    # Equal values differ by rounding; dividing by that spread would make outliers out of nothing.
    if spread <= _EPS * len(values) * float(np.abs(values).max()):
        return np.zeros(len(values), bool)
    return np.asarray(deviation > cut * spread)


def partition_score(log_partition: Array) -> float:
    """min Z / max Z from log Z(c) of the candidate directions c (Mu & Viswanath 2018), in (0, 1]."""
    return float(np.exp(log_partition.min() - log_partition.max()))


def log_partition_by_group(vectors: Array, group: NDArray[np.intp], groups: int) -> Array:
    """log Σ exp(c·x) over the rows of each group, (groups, 2d); c = ± the eigenvectors of Σ x xᵀ.

    An eigenvector has no sign, and the minimum and maximum of the definition run over the whole sphere.
    """
    directions = eigen(product(vectors.T, vectors))[1]
    projections = product(vectors, directions)
    both = np.hstack([projections, -projections])
    return np.stack([_log_sum_exp(both[group == g]) for g in range(groups)])


def _log_sum_exp(values: Array) -> Array:
    top = values.max(axis=0)
    return np.asarray(top + np.log(np.exp(values - top).sum(axis=0)), np.float64)


def eigenvalues_of(covariance: Array) -> Array:
    """Eigenvalues (d,) of a covariance; those within rounding of zero, relative to the largest, are zero."""
    values = np.linalg.eigvalsh(covariance)
    return np.where(values > _EPS * len(values) * values[-1], values, 0.0)


def moment_replicates(vectors: Array, group: NDArray[np.intp], groups: int, outlier_cut: float) -> Replicates:
    """Every measure of this module for the rows (n, d) and for the rows without each group.

    A left-out group leaves the moments, and the spectrum is computed again: a first-order update of the
    eigenvalues would halve the interval of the effective rank where n is near d. The partition function loses
    the group's rows but keeps the directions of the whole sample, which gave intervals at least as good in
    simulation.
    """
    unit = unit_rows(vectors)
    directions = Moments.of(unit)
    # Exact zeros for a constant dimension: the mean of equal numbers may be off by a rounding.
    centre = np.where(np.ptp(vectors, axis=0) == 0, vectors[0], vectors.mean(axis=0))
    shifted = vectors - centre
    spread = Moments.of(shifted)
    log_partition = log_partition_by_group(vectors, group, groups)

    def measures(directions: Moments, spread: Moments, log_partition: Array) -> dict[str, float]:
        covariance = spread.covariance()
        spectrum = eigenvalues_of(covariance)
        variances = np.clip(np.diagonal(covariance), 0.0, None)
        return {
            **cosine_measures(directions),
            **coordinate_measures(centre + spread.mean(), variances, outlier_cut),
            "isoscore": isoscore(spectrum),
            "partition_score": partition_score(_log_sum_exp(log_partition)),
            "effective_rank": effective_rank(spectrum),
            "participation_ratio": participation_ratio(spectrum),
        }

    def without(g: int) -> dict[str, float]:
        gone = group == g
        return measures(
            directions.without(unit[gone]), spread.without(shifted[gone]), np.delete(log_partition, g, axis=0)
        )

    return Replicates(measures(directions, spread, log_partition), ([without(g) for g in range(groups)],))
