"""Intervals by the delete-a-group jackknife, one method for every measure of the geometry.

The sample is cut into G groups of nearly equal size and every measure is computed again without each group.
With t_g these values and t their mean, the variance is (G−1)/G · Σ (t_g − t)² and the interval is the value ±
the Student quantile with G−1 degrees of freedom times its root (Kott 2001; Shao & Wu 1989 on deleting many
rows at once, which also serves medians). No row is ever drawn twice, so no zero distance and no repeated
direction is invented, and pairs that share a row leave together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Replicates:
    """Measures of a whole sample and of the sample without each group.

    ``left_out`` holds one sequence for each independent source of sampling error (documents, queries, random
    projections); their variances add.
    """

    value: Mapping[str, float]
    left_out: tuple[Sequence[Mapping[str, float]], ...]


@dataclass(frozen=True)
class Estimate:
    """One measured value with its confidence interval, in the measure's unit; NaN where it is not defined.

    ``sample_size`` counts the rows behind it; for the query–document gap, of the smaller sample.
    """

    value: float
    ci_low: float
    ci_high: float
    sample_size: int


def row_groups(rows: int, groups: int) -> NDArray[np.intp]:
    """Group number of each row, (rows,): dealt in turn, so sizes differ by one at most."""
    return np.arange(rows, dtype=np.intp) % groups


def jackknife_variance(left_out: Sequence[float]) -> float:
    """Delete-a-group jackknife variance from the values without each group; NaN if any of them is."""
    values = np.asarray(left_out, np.float64)
    groups = len(values)
    return float((groups - 1) / groups * np.sum((values - values.mean()) ** 2))


def interval(
    replicates: Replicates, name: str, confidence: float, low: float, high: float
) -> tuple[float, float]:
    """Two-sided confidence interval of one measure, clipped to its range [low, high]; NaN where undefined."""
    from scipy.special import stdtrit

    value = replicates.value[name]
    variance = sum(jackknife_variance([v[name] for v in source]) for source in replicates.left_out)
    freedom = min(len(source) for source in replicates.left_out) - 1
    half_width = float(stdtrit(freedom, 0.5 + confidence / 2)) * float(np.sqrt(variance))
    if not np.isfinite(value) or not np.isfinite(half_width):
        return float("nan"), float("nan")
    return max(low, value - half_width), min(high, value + half_width)
