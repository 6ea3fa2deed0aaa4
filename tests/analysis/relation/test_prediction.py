from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from analysis.relation.prediction import (
    METHODS,
    HeldOut,
    coefficient_path,
    fit_path,
    held_out,
    prediction_scores,
    tuned_fit,
)
from tests.counts import count

Array = NDArray[np.float64]
MODELS, DATASETS, BITS = (
    np.ravel(a) for a in np.meshgrid(np.arange(3), np.arange(3), [64, 128, 256, 512], indexing="ij")
)
CELLS = np.repeat(np.arange(9), 4)
PENALTIES = tuple(10.0 ** np.arange(-2, 0.51, 0.25))


def cells_of(random: np.random.RandomState, n_features: int) -> Array:
    """(36, n) features that are constant within cells, and log2 bits as the last column."""
    return np.column_stack([random.standard_normal((9, n_features))[CELLS], np.log2(BITS)])


def test_ridge_path_solves_its_equations() -> None:
    random = np.random.RandomState(0)
    x, y = random.standard_normal((20, 30)), random.standard_normal(20)
    path = coefficient_path("ridge", x, y, np.array([1.0, 0.1]))
    for penalty, b in zip((1.0, 0.1), path.T, strict=True):
        assert b == pytest.approx(np.linalg.solve(x.T @ x + 20 * penalty * np.eye(30), x.T @ y), abs=1e-9)


def test_lasso_path_is_optimal() -> None:
    random = np.random.RandomState(1)
    x, y = random.standard_normal((20, 30)), random.standard_normal(20)
    penalties = np.array([0.5, 0.1, 0.02])
    for penalty, b in zip(penalties, coefficient_path("lasso", x, y, penalties).T, strict=True):
        gradient = x.T @ (y - x @ b) / 20
        assert np.abs(gradient).max() <= penalty * 1.02
        active = b != 0
        assert gradient[active] == pytest.approx(penalty * np.sign(b[active]), abs=0.02 * penalty)


@pytest.mark.parametrize("method", METHODS)
def test_fits_do_not_depend_on_units(method: str) -> None:
    random = np.random.RandomState(2)
    x, y = random.standard_normal((20, 4)), random.standard_normal(20)
    plain = fit_path(method, x, y, np.array([0.1]))[0]
    scaled = fit_path(method, 1000 * x + 7, 0.01 * y - 3, np.array([0.1]))[0]
    assert scaled.predict(1000 * x + 7) == pytest.approx(0.01 * plain.predict(x) - 3, abs=1e-9)
    assert plain.coefficients.any()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_constant_in_training_cannot_speak(method: str) -> None:
    random = np.random.RandomState(3)
    x = np.column_stack([np.full(12, 0.1), random.standard_normal(12)])
    fit = fit_path(method, x, x[:, 1], np.array([0.01]))[0]
    assert fit.predict(np.array([[99.0, 0.5]])) == pytest.approx(fit.predict(np.array([[0.1, 0.5]])))
    flat = fit_path(method, x, np.full(12, 0.3), np.array([0.01]))[0]
    assert flat.predict(x) == pytest.approx(np.full(12, 0.3))


def test_the_penalty_follows_the_signal() -> None:
    random = np.random.RandomState(4)
    x = cells_of(random, 3)
    for method in METHODS:
        signal = tuned_fit(method, x, x[:, 0], MODELS, PENALTIES)
        # Alternating between models: what is learnt from two is wrong for the third.
        noise = tuned_fit(
            method, MODELS[:, None].astype(float), np.array([0.0, 1.0, 0.0])[MODELS], MODELS, PENALTIES
        )
        assert signal.penalty == min(PENALTIES)
        assert noise.penalty == max(PENALTIES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [MODELS, DATASETS])
def test_nothing_of_a_left_out_group_is_seen(method: str, groups: NDArray[np.int64]) -> None:
    random = np.random.RandomState(5)
    x, y = cells_of(random, 10), random.standard_normal(36)
    honest = held_out(method, x, y, groups, CELLS, BITS, PENALTIES)
    out = groups == 1
    other = np.where(out, 1e3 * random.standard_normal(36), y)
    again = held_out(method, x, other, groups, CELLS, BITS, PENALTIES)
    for name in ("predictions", "mean", "mean_at_bits"):
        assert (getattr(again, name)[out] == getattr(honest, name)[out]).all()
    # Nor its features: scales are fitted without it, so one odd point moves no prediction but its own.
    odd = x.copy()
    odd[12 if groups is MODELS else 4] *= 1e6
    moved = held_out(method, odd, y, groups, CELLS, BITS, PENALTIES).predictions != honest.predictions
    assert moved[out].sum() <= 1


def test_held_out_is_a_plain_loop() -> None:
    random = np.random.RandomState(6)
    x, y = cells_of(random, 5), random.standard_normal(36)
    held = held_out("ridge", x, y, DATASETS, CELLS, BITS, PENALTIES)
    for d in range(3):
        train, test = d != DATASETS, d == DATASETS
        fit = tuned_fit("ridge", x[train], y[train], DATASETS[train], PENALTIES)
        assert (held.predictions[test] == fit.predict(x[test])).all()
        assert held.mean[test] == pytest.approx(y[train].mean())
        for b in np.unique(BITS):
            assert held.mean_at_bits[test & (b == BITS)] == pytest.approx(y[train & (b == BITS)].mean())
    assert held.selected.shape == (3, 6)
    assert not held.fallback


def test_two_models_fall_back_to_cells() -> None:
    two = MODELS < 2
    random = np.random.RandomState(7)
    x, y = cells_of(random, 3)[two], random.standard_normal(two.sum())
    held = held_out("lasso", x, y, MODELS[two], CELLS[two], BITS[two], PENALTIES)
    assert held.fallback
    train = MODELS[two] == 1
    fit = tuned_fit("lasso", x[train], y[train], CELLS[two][train], PENALTIES)
    assert (held.predictions[~train] == fit.predict(x[~train])).all()


def test_knowing_the_model_does_not_help_with_a_new_one() -> None:
    random = np.random.RandomState(8)
    skills = []
    for _ in range(count(full=40, quick=4)):
        y = random.standard_normal(3)[MODELS] + 0.01 * random.standard_normal(36)
        identity = np.column_stack([m == MODELS for m in range(3)]).astype(float)
        for method in METHODS:
            for x in (identity, random.permutation(3)[MODELS][:, None].astype(float)):
                held = held_out(method, x, y, MODELS, CELLS, BITS, PENALTIES)
                skills.append(prediction_scores(y, held, BITS)["skill"])
            # The same feature is all there is to know about a new dataset.
            held = held_out(method, identity, y, DATASETS, CELLS, BITS, PENALTIES)
            assert prediction_scores(y, held, BITS)["skill"] > 0.5
    assert np.mean(skills) < 0.02


def test_lasso_selects_the_planted_feature() -> None:
    random = np.random.RandomState(9)
    x = cells_of(random, 12)
    y = 0.5 + 0.1 * x[:, 3] + 0.002 * random.standard_normal(36)
    fit = tuned_fit("lasso", x, y, MODELS, PENALTIES)
    assert np.argmax(np.abs(fit.coefficients)) == 3
    assert fit.coefficients[3] == pytest.approx(0.1 * x[:, 3].std(), rel=0.1)
    assert np.abs(np.delete(fit.coefficients, 3)).max() < 0.1 * fit.coefficients[3]
    held = held_out("lasso", x, y, DATASETS, CELLS, BITS, PENALTIES)
    assert held.selected[:, 3].all()
    assert prediction_scores(y, held, BITS)["skill"] > 0.8


def test_scores_by_hand() -> None:
    target = np.array([1.0, 2.0, 3.0, 6.0])
    bits = np.array([64, 64, 128, 128])
    held = HeldOut(
        predictions=np.array([1.0, 3.0, 2.0, 5.0]),
        mean=np.full(4, 3.0),
        mean_at_bits=np.array([2.0, 1.0, 5.0, 4.0]),
        selected=np.ones((2, 1), bool),
        fallback=False,
    )
    scores = prediction_scores(target, held, bits)
    assert scores["mae"] == 0.75
    assert scores["mae_mean"] == 1.5
    assert scores["skill"] == 0.5
    assert scores["mae_mean_at_bits"] == 1.5
    assert scores["skill_at_bits"] == 0.5
    assert scores["r2"] == pytest.approx(1 - 3 / 14)
    assert scores["rank_correlation"] == pytest.approx(spearmanr(target, held.predictions)[0])
    assert scores["rank_correlation_at_bits"] == pytest.approx(1)
