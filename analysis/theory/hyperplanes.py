"""What one random hyperplane does to a query and two documents: exact probabilities, no approximation.

The hyperplane's normal is Gaussian, so it parts two vectors with the probability angle ÷ π (Goemans & Williamson 1995;
Charikar 2002). The derivation is in docs/theory.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from store.numerics.products import product

Array = NDArray[np.float64]


def mismatch_probability(left: Array, right: Array) -> Array:
    """Probability that the signs of two vectors differ: (rows, columns) for (rows, d) and (columns, d) of length 1."""
    return from_cosine(product(left, right.T))


def from_cosine(cosine: Array) -> Array:
    """Angle ÷ π, in [0, 1], of cosines that rounding may have carried out of [−1, 1]."""
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi)


def difference_variance(first: Array, second: Array, between: Array) -> Array:
    """Variance of the difference of two documents' mismatches with one query in one bit.

    first, second: probabilities that query and document mismatch. between: that the two documents do. The difference is
    −1, 0 or 1, and not 0 exactly where the signs of the documents differ: its square has the mean ``between``.
    """
    return np.asarray(np.maximum(between - np.square(first - second), 0.0))
