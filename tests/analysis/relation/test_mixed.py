from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.regression.linear_model import OLS

from analysis.relation.mixed import mixed_slope

NINE = np.repeat(np.arange(9), 4)
COVARIATE = np.tile([-1.5, -0.5, 0.5, 1.5], 9)


def case(seed: int, between: float, within: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.RandomState(seed)
    design = np.column_stack([np.ones(36), random.standard_normal(9)[NINE], COVARIATE])
    errors = between * random.standard_normal(9)[NINE] + within * random.standard_normal(36)
    return design @ [0.5, 0.04, 0.1] + errors, design


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_slope_between_cells_is_the_regression_of_cell_means(scale: float) -> None:
    y, x = case(0, between=0.1, within=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope = mixed_slope(scale * y, x, NINE, 1, 0.95)
    fit = OLS(scale * y.reshape(9, 4).mean(axis=1), x[::4, :2]).fit()
    assert slope.value == pytest.approx(fit.params[1], rel=1e-6)
    assert slope.error == pytest.approx(fit.bse[1], rel=1e-3)
    assert slope.df == 7
    assert slope.p_value == pytest.approx(fit.pvalues[1], rel=1e-2)
    assert (slope.low, slope.high) == pytest.approx(tuple(fit.conf_int()[1]), rel=1e-2)
    assert slope.note == ""


def test_slope_within_cells_is_the_fixed_effects_regression() -> None:
    y, x = case(1, between=0.1, within=0.05)
    slope = mixed_slope(y, x, NINE, 2, 0.95)
    dummies = (NINE[:, None] == np.arange(9)).astype(float)
    fit = OLS(y, np.column_stack([dummies, COVARIATE])).fit()
    assert slope.df == 26 == fit.df_resid
    assert slope.value == pytest.approx(fit.params[-1], rel=1e-6)
    assert slope.p_value == pytest.approx(fit.pvalues[-1], rel=1e-2)


def test_a_variance_of_nought_is_noted_not_warned() -> None:
    y, x = case(2, between=0.0, within=0.05)
    y -= 0.9 * (y - x @ [0.5, 0.04, 0.1]).reshape(9, 4).mean(axis=1)[NINE]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope = mixed_slope(y, x, NINE, 1, 0.95)
    assert "estimated as 0" in slope.note or "no standard error" in slope.note
    assert slope.value == pytest.approx(OLS(y, x).fit().params[1], rel=1e-3)


def test_what_cannot_be_fitted_says_so() -> None:
    y, x = case(3, between=0.1, within=0.05)
    assert mixed_slope(y[::4][NINE], x, NINE, 1, 0.95).note == "the target does not vary within cells"
    exact = mixed_slope(x @ [1.0, 2.0, 3.0], x, NINE, 1, 0.95)
    assert exact.note == "the fit is exact: no error to test against"
    assert exact.value == pytest.approx(2)
    few = mixed_slope(y[:8], x[:8], NINE[:8], 1, 0.95)
    assert few.note == "2 cells leave no degrees of freedom"
    assert np.isnan([few.value, few.p_value, few.low, few.high]).all()
