"""Linear regression when points come in few clusters: CR2 errors, wild cluster bootstrap, random
intercepts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

_ENUMERATE = 2**12  # weight vectors; at most this many are all enumerated
_WEIGHTS = {
    "rademacher": np.array([-1.0, 1.0]),
    "webb": np.array([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5]),
}
_WEIGHTS["webb"] = np.sign(_WEIGHTS["webb"]) * np.sqrt(np.abs(_WEIGHTS["webb"]))


@dataclass(frozen=True)
class Slope:
    """One regression coefficient with its standard error, degrees of freedom and two-sided t-test.

    low, high bound the confidence interval; note gives the reason for figures that are NaN.
    """

    value: float
    error: float
    df: float
    p_value: float
    low: float
    high: float
    note: str = ""

    @classmethod
    def of(cls, value: float, error: float, df: float, confidence: float, note: str = "") -> Slope:
        """Complete the t-test and interval from an estimate, its standard error and degrees of freedom."""
        from scipy.stats import t

        half = float(t.ppf((1 + confidence) / 2, df)) * error
        return cls(
            value, error, df, float(2 * t.sf(abs(value) / error, df)), value - half, value + half, note
        )

    @classmethod
    def missing(cls, note: str, value: float = np.nan) -> Slope:
        """A slope that could not be tested, and why."""
        return cls(value, np.nan, np.nan, np.nan, np.nan, np.nan, note)


def cr2_parts(
    design: NDArray[np.float64], clusters: NDArray[np.int64], contrast: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights a (n,) with which residuals enter the CR2 error, and B (G, G), their covariance by cluster.

    design (n, k) of full rank; clusters (n,) numbered 0 to G-1; contrast (k,). With M = (X'X)^-1 and the
    adjustment A_g = (I - H_gg)^(-1/2), symmetric and pseudo-inverted where a cluster has leverage 1, a_g =
    A_g X_g M c. The CR2 variance of c'β is Σ_g (a_g' e_g)², and under independent errors of equal variance
    the sums a_g' e_g have a covariance proportional to B = [a_g' (I - H)_gh a_h]. Source: Bell & McCaffrey
    2002; Pustejovsky & Tipton 2018.
    """
    bread = np.linalg.inv(design.T @ design)
    n_clusters = int(clusters.max()) + 1
    weights = np.empty(len(design))
    for g in range(n_clusters):
        rows = design[clusters == g]
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - rows @ bread @ rows.T)
        root = np.where(values > 1e-8, 1 / np.sqrt(np.maximum(values, 1e-8)), 0.0)
        weights[clusters == g] = vectors @ (root * (vectors.T @ (rows @ (bread @ contrast))))
    member = clusters[:, None] == np.arange(n_clusters)
    spread = member * weights[:, None]
    through = design.T @ spread
    return weights, spread.T @ spread - through.T @ bread @ through


def ols_cr2(
    target: NDArray[np.float64],
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
    column: int,
    confidence: float,
) -> Slope:
    """OLS coefficient of `column` with its CR2 standard error and Satterthwaite (1946) degrees of freedom.

    target (n,), design (n, k) of full rank, clusters (n,) numbered 0 to G-1. df = (tr B)²/tr(B²), with B of
    `cr2_parts`. Where the fit is exact there is no error to test against: the slope alone, with a note.
    """
    from statsmodels.regression.linear_model import OLS

    fit = OLS(target, design).fit()
    value = float(fit.params[column])
    weights, covariance = cr2_parts(design, clusters, np.eye(design.shape[1])[column])
    sums = np.bincount(clusters, weights=weights * fit.resid)
    error = float(np.sqrt(sums @ sums))
    if exact_fit(fit.resid, target):
        return Slope.missing("the fit is exact: no error to test against", value)
    if error <= 1e-12 * abs(value) or np.trace(covariance) <= 1e-12 * float(weights @ weights):
        return Slope.missing("the clusters leave no error to test against", value)
    df = float(np.trace(covariance) ** 2 / np.sum(covariance**2))
    return Slope.of(value, error, df, confidence)


def exact_fit(residuals: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    """Whether residuals are rounding errors compared with the spread of the target."""
    return bool(np.linalg.norm(residuals) <= 1e-9 * np.linalg.norm(target - target.mean()))


@dataclass(frozen=True)
class WildWeights:
    """(B, G) bootstrap weights; exact: the rows are all weight vectors, the vector of ones among them."""

    table: NDArray[np.float64]
    exact: bool


def wild_weights(n_clusters: int, family: str, draws: int, seed: int) -> WildWeights:
    """All weight vectors of the family ("rademacher" ±1, "webb" ±√.5 ±1 ±√1.5) when at most 4096, else
    draws."""
    points = _WEIGHTS[family]
    if len(points) ** n_clusters <= _ENUMERATE:
        return WildWeights(np.array(list(product(points, repeat=n_clusters))), True)
    chosen = np.random.RandomState(seed).randint(len(points), size=(draws, n_clusters))
    return WildWeights(points[chosen], False)


def wild_p(
    target: NDArray[np.float64],
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
    column: int,
    weights: WildWeights,
) -> float:
    """Two-sided wild cluster bootstrap p of one coefficient, null imposed, statistic = the CR2 t.

    The model without `column` is fitted, its residuals are multiplied by one weight per cluster, and the full
    model is refitted. Both the coefficient and the cluster sums of its error are linear in the weights, so
    all refits are two matrix products. NaN where the restricted fit is exact. Source: Cameron, Gelbach &
    Miller 2008; Webb 2023.
    """
    rest = np.delete(design, column, axis=1)
    residuals = target - rest @ np.linalg.lstsq(rest, target, rcond=None)[0]
    if exact_fit(residuals, target):
        return float("nan")
    contrast = np.eye(design.shape[1])[column]
    adjusted, _ = cr2_parts(design, clusters, contrast)
    bread = np.linalg.inv(design.T @ design)
    member = (clusters[:, None] == np.arange(clusters.max() + 1)).astype(np.float64)
    by_cluster = member * residuals[:, None]
    slopes = (design @ (bread @ contrast)) @ by_cluster
    left = by_cluster - design @ (bread @ (design.T @ by_cluster))
    sums = (member * adjusted[:, None]).T @ left
    drawn = np.vstack([np.ones(member.shape[1]), weights.table])
    numerator, squares = np.abs(drawn @ slopes), np.sum((drawn @ sums.T) ** 2, axis=1)
    # A draw that leaves no error is as extreme as possible, unless its slope is 0 as well.
    reach = float(np.abs(slopes).sum())
    t = np.where(numerator > 1e-9 * reach, np.inf, 0.0)
    np.divide(numerator, np.sqrt(squares), out=t, where=squares > 1e-18 * reach**2)
    count = int(np.count_nonzero(t[1:] >= t[0] * (1 - 1e-9)))
    extra = 0 if weights.exact else 1
    return (count + extra) / (len(weights.table) + extra)
