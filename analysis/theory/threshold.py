"""The normalised Hamming distance below which the expected number of documents is the depth of the ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FAR = 9.0  # deviations: the normal distribution has less than 1e-18 beyond
_STEPS = 100  # halving alone would need about 60
_EXCESS = 1e-10  # of the depth


def thresholds(
    means: Array, deviations: Array, weights: Array, depths: NDArray[np.integer], start: Array
) -> Array:
    """The threshold t of each ranking, (rankings,), which solves Σ weight · Φ((t − mean) ÷ deviation) = depth.

    means: (documents,) of the normalised distances. deviations: (rankings, documents), above 0, of a document's
    distance from the threshold. weights: (documents,) how many documents each stands for, at least 0. depths:
    (rankings,), above 0 and below the sum of the weights. start: (rankings,) thresholds that are nearly right.

    Newton's steps; the bracket is halved where one would leave it, or the last one left more than half of the excess.
    """
    from scipy.special import ndtr

    low = (means - _FAR * deviations).min(axis=1)
    high = (means + _FAR * deviations).max(axis=1)
    threshold, before = start, np.full(len(start), np.inf)
    for _ in range(_STEPS):
        standard = (threshold[:, None] - means) / deviations
        excess = (weights * ndtr(standard)).sum(axis=1) - depths
        solved = np.abs(excess) <= _EXCESS * depths
        if solved.all():
            break
        low = np.where(excess < 0, threshold, low)
        high = np.where(excess < 0, high, threshold)
        density = (weights / deviations * np.exp(-0.5 * np.square(standard))).sum(axis=1) / np.sqrt(2 * np.pi)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            newton = threshold - excess / density
        # Without the second condition, steps can go to and fro between two thresholds for ever.
        good = (newton >= low) & (newton <= high) & (np.abs(excess) <= before / 2)
        threshold = np.where(solved, threshold, np.where(good, newton, (low + high) / 2))
        before = np.abs(excess)
    return np.asarray(threshold)
