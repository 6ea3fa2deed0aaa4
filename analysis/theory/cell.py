"""The mean quality that the closed form expects of every search of a cell's Phase-1 codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.quality.per_query import Judgements
from analysis.theory.prediction import Array, Cut, Vectors, predict, rounded

METRICS = ("recall", "overlap")
"""What is predicted, in the order of the arrays."""


def expected_quality(
    documents: Vectors,
    queries: Vectors,
    judgements: Judgements,
    exclude: NDArray[np.int64],
    *,
    bits: Sequence[int],
    k: Sequence[int],
    rescored_k: int,
    oversample: Sequence[int],
) -> Array:
    """Means over queries, (metric, bits, 1 + oversample, k) float64 with six significant digits.

    Metrics are `METRICS`. The first place along ``oversample`` is the search that is not re-scored, at every k; the
    others are its best oversample × ``rescored_k`` documents ranked again with the vectors: only their Overlap at
    that cut-off is predicted, the rest is NaN. Vectors, exclude and errors are those of `predict`.
    """
    places = [(0, at, Cut(cutoff, cutoff)) for at, cutoff in enumerate(k)]
    places += [
        (1 + position, list(k).index(rescored_k), Cut(rescored_k, multiple * rescored_k))
        for position, multiple in enumerate(oversample)
    ]
    found = predict(documents, queries, bits, [cut for *_, cut in places], judgements, exclude)
    value = np.full((len(METRICS), len(bits), 1 + len(oversample), len(k)), np.nan)
    for one, (position, at, _) in enumerate(places):
        value[1, :, position, at] = rounded(found.overlap[:, one].mean(axis=-1))
        if found.recall is not None and position == 0:
            value[0, :, position, at] = rounded(found.recall[:, one].mean(axis=-1))
    return value
