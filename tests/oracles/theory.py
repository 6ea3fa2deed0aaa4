"""The closed form of docs/theory.md, one document at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

Array = NDArray[np.float64]


def angle_share(left: Array, right: Array) -> float:
    """Angle ÷ π, by the half-angle formula."""
    a, b = left / np.linalg.norm(left), right / np.linalg.norm(right)
    return float(2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b)) / math.pi)


def found_probability(documents: Array, query: Array, bits: int, depth: int) -> tuple[Array, list[int]]:
    """Probability (n,) that each document is among the first ``depth``, and all rows in their exact order."""
    p = [angle_share(query, document) for document in documents]
    order = sorted(range(len(documents)), key=lambda row: p[row])
    boundary = order[max(0, depth - 5) : depth + 15]
    deviations = []
    for i, document in enumerate(documents):
        variance = [angle_share(document, documents[j]) - (p[i] - p[j]) ** 2 for j in boundary]
        deviations.append(math.sqrt(np.mean(variance) / 2 / bits + 1 / (12 * bits**2)))

    def found(t: float) -> Array:
        return np.asarray(norm.cdf((t - np.array(p)) / np.array(deviations)))

    threshold = brentq(lambda t: float(found(t).sum()) - depth, -2.0, 3.0, xtol=1e-14)
    return found(float(threshold)), order
