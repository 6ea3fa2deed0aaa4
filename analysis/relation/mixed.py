"""Regression with a random intercept per cluster (Laird & Ware 1982), fitted by REML with statsmodels."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from analysis.relation.regression import Slope, exact_fit

_BOUNDARY = 1e-6  # intercept variance over residual variance; less than this reads as none


def mixed_slope(
    target: NDArray[np.float64],
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
    column: int,
    confidence: float,
) -> Slope:
    """Coefficient of `column` in a linear model with one random intercept per cluster.

    target (n,), design (n, k) with the constant in column 0, clusters (n,) numbered 0 to G-1. Degrees of
    freedom by containment: G minus the coefficients that vary only between clusters when `column` is one of
    them, otherwise n - G minus those that vary within. Warnings of statsmodels and failures to converge
    are in the note.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    members = [clusters == g for g in range(int(clusters.max()) + 1)]
    within = np.array([any(np.ptp(x[m]) > 1e-12 * np.abs(x).max() for m in members) for x in design.T])
    if not any(np.ptp(target[m]) > 1e-12 * np.abs(target).max() for m in members):
        return Slope.missing("the target does not vary within cells")
    df = len(target) - len(members) - within.sum() if within[column] else len(members) - (~within).sum()
    if df < 1:
        return Slope.missing(f"{len(members)} cells leave no degrees of freedom")
    scale = float(target.std())
    scaled = target / scale
    coefficients = np.linalg.lstsq(design, scaled, rcond=None)[0]
    residuals = scaled - design @ coefficients
    if exact_fit(residuals, scaled):
        return Slope.missing(
            "the fit is exact: no error to test against", float(coefficients[column]) * scale
        )
    start = MixedLMParams.from_components(
        fe_params=coefficients, cov_re=np.array([[_variance_ratio(residuals, members)]])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each condition is read from the fit below and named in the note
        try:
            fit = MixedLM(scaled, design, groups=clusters).fit(method="lbfgs", reml=True, start_params=start)
            value, error = float(fit.fe_params[column]) * scale, float(fit.bse_fe[column]) * scale
            ratio, converged = float(fit.cov_re[0, 0]) / float(fit.scale), bool(fit.converged)
        except np.linalg.LinAlgError:
            return Slope.missing("the mixed model has no solution: singular matrix")
    if not converged:
        return Slope.missing("the mixed model did not converge")
    if not np.isfinite(error) or error <= 0:
        return Slope.missing("the mixed model gives no standard error", value)
    note = "the intercepts' variance is estimated as 0" if ratio < _BOUNDARY else ""
    return Slope.of(value, error, float(df), confidence, note)


def _variance_ratio(residuals: NDArray[np.float64], members: list[NDArray[np.bool_]]) -> float:
    """Moment estimate of intercept variance over residual variance: the optimiser starts there, nearly
    done."""
    means = np.array([residuals[m].mean() for m in members])
    size = len(residuals) / len(members)
    inner = sum(float(np.sum((residuals[m] - residuals[m].mean()) ** 2)) for m in members)
    variance = inner / max(len(residuals) - len(members) - 1, 1)
    between = float(means @ means) / max(len(members) - 2, 1)
    return max(between / max(variance, 1e-12) - 1 / size, 1e-3)
