"""Literal versions of the geometry measures: loops over pairs and over points, one formula each."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pair_cosines(left: Array, right: Array | None = None) -> Array:
    """Cosine of every unordered pair of rows, or of every (left, right) pair."""
    pairs = itertools.combinations(left, 2) if right is None else itertools.product(left, right)
    return np.array([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs])


def top_dimension_cosine(vectors: Array) -> float:
    """Largest mean contribution of one dimension to the cosine of two rows."""
    parts = [a * b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in itertools.combinations(vectors, 2)]
    return float(np.mean(parts, axis=0).max())


def isoscore(vectors: Array) -> float:
    """The seven steps of Rudman 2022, Algorithm 1, on the points turned to their principal axes."""
    centred = vectors - vectors.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=True)[2]
    diagonal = np.diagonal(np.cov(centred @ axes.T, rowvar=False))
    n = len(diagonal)
    normalised = np.sqrt(n) * diagonal / np.linalg.norm(diagonal)
    defect = np.linalg.norm(normalised - np.ones(n)) / np.sqrt(2 * (n - np.sqrt(n)))
    phi = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    return float((n * phi - 1) / (n - 1))


def effective_rank(vectors: Array) -> float:
    """exp of the entropy of the normalised singular values of the centred matrix."""
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    share = singular / singular.sum()
    return float(np.exp(-sum(p * np.log(p) for p in share if p > 0)))


def participation_ratio(vectors: Array) -> float:
    """(tr C)² / tr C² of the covariance."""
    covariance = np.cov(vectors, rowvar=False)
    return float(np.trace(covariance) ** 2 / np.trace(covariance @ covariance))


def partition_score(vectors: Array) -> float:
    """min Z / max Z over the eigenvectors of XᵀX with either sign, from the right singular vectors of X."""
    axes = np.linalg.svd(vectors, full_matrices=True)[2]
    values = [sum(np.exp(sign * axis @ x) for x in vectors) for axis in axes for sign in (1, -1)]
    return float(min(values) / max(values))


def outlier_dimensions(vectors: Array, cut: float) -> float:
    """Share of columns whose mean or variance is beyond ``cut`` standard deviations over columns."""
    marked = set()
    for statistic in (vectors.mean(axis=0), vectors.var(axis=0)):
        for j, value in enumerate(statistic):
            if abs(value - np.mean(statistic)) > cut * np.std(statistic):
                marked.add(j)
    return len(marked) / int(vectors.shape[1])


def neighbour_lists(points: Array, rows: Array, k: int, *, same: bool) -> tuple[NDArray[np.intp], Array]:
    """Rows and distances of the k nearest, each point sorted by (distance, row)."""
    found = []
    for i, point in enumerate(points):
        distances = [
            (float(np.linalg.norm(point - row)), j) for j, row in enumerate(rows) if not (same and i == j)
        ]
        found.append(sorted(distances)[:k])
    return (
        np.array([[j for _, j in nearest] for nearest in found], np.intp),
        np.array([[r for r, _ in nearest] for nearest in found]),
    )
