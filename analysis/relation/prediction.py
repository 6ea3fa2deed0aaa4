"""Ridge (Hoerl & Kennard 1970) and lasso (Tibshirani 1996), judged on groups they never saw and against a mean.

Scales are fitted on training points only, penalties chosen inside the training points by leaving out one
group at a time. Penalties are per point and per standardised unit for both methods: they minimise mean
squared error / 2 + penalty · (Σ|b|, or Σb²/2), so a lasso penalty of 1 or more gives the training mean.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHODS = ("ridge", "lasso")


@dataclass(frozen=True)
class LinearFit:
    """A fit in original units: prediction = intercept + (x - centre) / scale @ coefficients."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    intercept: float
    penalty: float

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) predictions for (n, p) features."""
        return self.intercept + ((features - self.centre) / self.scale) @ self.coefficients


@dataclass(frozen=True)
class HeldOut:
    """Predictions (n,) of every point by the fit that left its group out, and of two means of the same
    points.

    mean: of the training targets. mean_at_bits: of the training targets at the same bits. selected: (groups,
    p) which coefficients were not 0. fallback: penalties were chosen by cell, as training held one group
    only.
    """

    predictions: NDArray[np.float64]
    mean: NDArray[np.float64]
    mean_at_bits: NDArray[np.float64]
    selected: NDArray[np.bool_]
    fallback: bool


def standard_scale(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and scale (p,) of the columns; a constant column has scale inf, so that it standardises to 0."""
    centre, scale = features.mean(axis=0), features.std(axis=0)
    return centre, np.where(scale > 1e-12 * np.abs(features).max(axis=0), scale, np.inf)


def coefficient_path(
    method: str, x: NDArray[np.float64], y: NDArray[np.float64], penalties: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(p, penalties) coefficients for standardised x (n, p), y (n,); penalties in descending order."""
    from sklearn.linear_model import Ridge, lasso_path

    if method == "ridge":
        # One right-hand side per penalty: a single decomposition call solves the whole path.
        model = Ridge(alpha=len(y) * penalties, fit_intercept=False)
        fitted = model.fit(x, np.repeat(y[:, None], len(penalties), axis=1))
        return np.asarray(fitted.coef_, np.float64).reshape(len(penalties), -1).T
    with warnings.catch_warnings():
        # If a small penalty stops short of the optimum, its held-out error still judges the fit fairly: no
        # reason for a warning per path.
        warnings.simplefilter("ignore")
        return np.asarray(lasso_path(x, y, alphas=penalties, tol=1e-4, max_iter=2000)[1], np.float64)


def fit_path(
    method: str, features: NDArray[np.float64], target: NDArray[np.float64], penalties: NDArray[np.float64]
) -> list[LinearFit]:
    """One fit per penalty, scales from these points alone."""
    centre, scale = standard_scale(features)
    mean, spread = float(target.mean()), float(target.std())
    if spread <= 1e-12 * float(np.abs(target).max()):
        return [LinearFit(centre, scale, np.zeros(len(centre)), mean, float(p)) for p in penalties]
    path = coefficient_path(method, (features - centre) / scale, (target - mean) / spread, penalties)
    return [
        LinearFit(centre, scale, spread * b, mean, float(p)) for b, p in zip(path.T, penalties, strict=True)
    ]


def tuned_fit(
    method: str,
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    groups: NDArray[np.int64],
    penalties: tuple[float, ...],
) -> LinearFit:
    """The fit on all these points with the penalty of least squared error over left-out groups, the larger on
    ties.

    features (n, p), target (n,), groups (n,) with at least two different values.
    """
    grid = np.array(sorted(penalties, reverse=True))
    loss = np.zeros(len(grid))
    for group in np.unique(groups):
        out = groups == group
        fits = fit_path(method, features[~out], target[~out], grid)
        loss += [float(np.sum((target[out] - fit.predict(features[out])) ** 2)) for fit in fits]
    return fit_path(method, features, target, grid)[int(np.argmin(loss))]


def held_out(
    method: str,
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    groups: NDArray[np.int64],
    cells: NDArray[np.int64],
    bits: NDArray[np.int64],
    penalties: tuple[float, ...],
) -> HeldOut:
    """Predict each group from the others; the penalty is chosen by leaving groups of the same kind out in
    turn.

    features (n, p), target, groups, cells, bits (n,). Where only one group is left to train on, cells take
    its place.
    """
    predictions, mean, mean_at_bits = np.empty(len(target)), np.empty(len(target)), np.empty(len(target))
    selected, fallback = [], False
    for group in np.unique(groups):
        out = groups == group
        inner = groups[~out]
        if len(np.unique(inner)) < 2:
            inner, fallback = cells[~out], True
        if len(np.unique(inner)) < 2:
            inner = np.arange(len(inner))
        fit = tuned_fit(method, features[~out], target[~out], inner, penalties)
        predictions[out] = fit.predict(features[out])
        mean[out] = target[~out].mean()
        for b in np.unique(bits):
            mean_at_bits[out & (bits == b)] = target[~out & (bits == b)].mean()
        selected.append(fit.coefficients != 0)
    return HeldOut(predictions, mean, mean_at_bits, np.array(selected), fallback)


def prediction_scores(
    target: NDArray[np.float64], held: HeldOut, bits: NDArray[np.int64]
) -> dict[str, float]:
    """Scores over all held-out points.

    r2 = 1 - SSE/SSE of the training mean; skill = 1 - MAE/MAE of the training mean; skill_at_bits is the same
    against the training mean at the same bits; rank_correlation is Spearman's between prediction and target
    over all points, rank_correlation_at_bits its mean over the bits. NaN where a denominator or a spread is
    0.
    """

    def mae(values: NDArray[np.float64]) -> float:
        return float(np.mean(np.abs(target - values)))

    baseline_sse = float(np.sum((target - held.mean) ** 2))
    sse = float(np.sum((target - held.predictions) ** 2))
    at_bits = [_spearman(held.predictions[bits == b], target[bits == b]) for b in np.unique(bits)]
    return {
        "r2": 1 - sse / baseline_sse if baseline_sse > 0 else np.nan,
        "mae": mae(held.predictions),
        "mae_mean": mae(held.mean),
        "mae_mean_at_bits": mae(held.mean_at_bits),
        "skill": _skill(mae(held.predictions), mae(held.mean)),
        "skill_at_bits": _skill(mae(held.predictions), mae(held.mean_at_bits)),
        "rank_correlation": _spearman(held.predictions, target),
        "rank_correlation_at_bits": float(np.mean(at_bits)),
    }


def _skill(error: float, baseline: float) -> float:
    return 1 - error / baseline if baseline > 0 else float("nan")


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from analysis.relation.points import defect
    from analysis.relation.rank import unit_ranks

    if defect("a", a) or defect("b", b):
        return float("nan")
    return float(unit_ranks(a) @ unit_ranks(b))
