from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from analysis.relation.rank import Relabelings, gram, permutation_p, relabel, relabel_models, unit_ranks
from tests.counts import count

MODELS = np.repeat(np.arange(3), 3)
DATASETS = np.tile(np.arange(3), 3)


def gram_of(feature: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    return gram(unit_ranks(feature), unit_ranks(target))


def brute_force_p(feature: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Share of all arrangements of whole cells with at least the observed |ρ|, by re-ranking every one."""
    observed = abs(spearmanr(feature.ravel(), target.ravel())[0])
    orders = list(permutations(range(len(feature))))
    moved = [abs(spearmanr(feature[list(order)].ravel(), target.ravel())[0]) for order in orders]
    return sum(r >= observed - 1e-9 for r in moved) / len(orders)


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.integers(1, 4))
def test_trace_is_spearman_with_ties(seed: int, n_cells: int, n_bits: int) -> None:
    random = np.random.RandomState(seed)
    feature, target = random.randint(0, 4, (2, n_cells, n_bits)).astype(float)
    feature[0, 0], target[-1, -1] = 9.0, 9.0
    expected = spearmanr(feature.ravel(), target.ravel())[0]
    assert np.trace(gram_of(feature, target)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_exact_p_is_brute_force(seed: int) -> None:
    random = np.random.RandomState(seed)
    feature = np.repeat(random.randint(0, 3, (4, 1)).astype(float), 3, axis=1)
    feature[3] += 5
    target = random.standard_normal((4, 3))
    relabelings = relabel(4, 24, 0)
    assert relabelings.exact
    assert len(relabelings.table) == 24
    assert permutation_p([gram_of(feature, target)], relabelings) == [brute_force_p(feature, target)]


def test_bits_of_a_cell_move_together() -> None:
    # Moving points one by one would make ρ = 1 over 12 points very rare; 2 of 3! cell orders reach |ρ| = 1.
    cell = np.repeat(np.array([[1.0], [2.0], [3.0]]), 4, axis=1)
    assert permutation_p([gram_of(cell, cell)], relabel(3, 6, 0)) == [2 / 6]


def test_draws_are_seeded_permutations_and_count_the_observed() -> None:
    drawn = relabel(9, 500, seed=4)
    assert not drawn.exact
    assert drawn.table.shape == (500, 9)
    assert (np.sort(drawn.table, axis=1) == np.arange(9)).all()
    assert (drawn.table == relabel(9, 500, seed=4).table).all()
    assert (drawn.table != relabel(9, 500, seed=5).table).any()
    # Uniform: every cell is sent everywhere, 500/9 ± 5 standard errors.
    sent = np.array([np.bincount(column, minlength=9) for column in drawn.table.T])
    assert np.abs(sent - 500 / 9).max() < 5 * np.sqrt(500 * 8 / 81)
    line = np.arange(9.0)[:, None]
    assert permutation_p([gram_of(line, line)], drawn) == [1 / 501]


def test_draws_approach_the_exact_p() -> None:
    random = np.random.RandomState(2)
    grams = [gram_of(*random.standard_normal((2, 6, 2))) for _ in range(20)]
    exact = permutation_p(grams, relabel(6, factorial(6), 0))
    drawn = permutation_p(grams, relabel(6, factorial(6) - 1, 0))
    assert np.abs(exact - drawn).max() < 5 * np.sqrt(0.25 / 719)


def test_blocks_do_not_change_the_count() -> None:
    random = np.random.RandomState(0)
    grams = [gram_of(*random.standard_normal((2, 7, 1))) for _ in range(3)]
    whole = relabel(7, 5040, 0)
    parts = [permutation_p(grams, Relabelings(part, True)) for part in np.split(whole.table, 10)]
    assert permutation_p(grams, whole) == pytest.approx(np.mean(parts, axis=0), abs=1e-15)
    assert permutation_p([], whole).shape == (0,)


def test_models_are_exchanged_alike_within_datasets() -> None:
    shuffled = np.random.RandomState(1).permutation(9)
    relabelings = relabel_models(MODELS[shuffled], DATASETS[shuffled], 6, 0)
    assert relabelings is not None
    assert relabelings.exact
    seen = set()
    for row in relabelings.table:
        assert (DATASETS[shuffled][row] == DATASETS[shuffled]).all()
        pairs = set(zip(MODELS[shuffled].tolist(), MODELS[shuffled][row].tolist(), strict=True))
        assert len(pairs) == 3
        seen.add(tuple(sorted(pairs)))
    assert len(seen) == 6


def test_models_cannot_be_exchanged_in_a_broken_grid() -> None:
    assert relabel_models(MODELS[1:], DATASETS[1:], 6, 0) is None


def test_p_of_models_has_a_floor() -> None:
    feature = np.arange(9.0)[:, None]
    relabelings = relabel_models(MODELS, DATASETS, 6, 0)
    assert relabelings is not None
    assert permutation_p([gram_of(feature, feature)], relabelings) == [1 / 6]


def test_null_is_rejected_at_its_level_and_a_planted_relation_is_found() -> None:
    runs = count(full=2000, quick=200)
    random = np.random.RandomState(11)
    feature = np.repeat(random.standard_normal((runs, 9, 1)), 4, axis=2)
    noise = random.standard_normal((runs, 9, 1)) + 0.3 * random.standard_normal((runs, 9, 4)) + np.arange(4)
    relabelings = relabel(9, 999, 0)
    null = permutation_p([gram_of(x, y) for x, y in zip(feature, noise, strict=True)], relabelings)
    assert np.mean(null <= 0.05) <= 0.06 + 3 * np.sqrt(0.06 * 0.94 / runs)
    assert np.mean(null <= 0.5) >= 0.5 - 4 * np.sqrt(0.25 / runs)
    planted = feature + 0.1 * noise
    found = permutation_p([gram_of(x, y) for x, y in zip(feature, planted, strict=True)], relabelings)
    assert np.mean(found <= 0.01) > 0.95


def test_what_models_share_deceives_cells_but_not_models() -> None:
    """If models drive both feature and quality, 9 cells are not 9 cases (docs/relation.md)."""
    runs = count(full=2000, quick=400)
    random = np.random.RandomState(12)

    def of_models() -> NDArray[np.float64]:
        model, cell = random.standard_normal((runs, 3))[:, MODELS], random.standard_normal((runs, 9))
        return np.repeat((np.sqrt(0.8) * model + np.sqrt(0.2) * cell)[:, :, None], 4, axis=2)

    quality = of_models() + np.arange(4) + 0.3 * random.standard_normal((runs, 9, 4))
    grams = [gram_of(x, y) for x, y in zip(of_models(), quality, strict=True)]
    by_model = relabel_models(MODELS, DATASETS, 6, 0)
    assert by_model is not None
    assert np.mean(permutation_p(grams, relabel(9, 999, 0)) <= 0.05) > 0.15
    p = permutation_p(grams, by_model)
    assert p.min() >= 1 / 6
    assert np.mean(p <= 1 / 3) <= 1 / 3 + 4 * np.sqrt(2 / 9 / runs)
