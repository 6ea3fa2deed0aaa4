"""Families of differences by simulation with fixed seeds: coverage, false positives and false regimes, power.

Each simulated study has 3 datasets × 3 models × 4 sizes and two codecs of several seeds. A query is found (Recall
0 or 1) where a normal score exceeds 0. Scores share the difficulty of the query between models of a dataset,
between the codecs of a cell and between sizes; seeds add noise query by query and an effect of the seed as a whole,
half of it common to the cells of a dataset. True differences follow from normal probabilities in closed form.

    BITLAKE_FULL=1 python -m pytest -s --timeout 1800 tests/analysis/intervals/test_regimes_simulation.py

prints the figures that docs/quality.md quotes. Studies are simulated in groups that share their bootstrap draws,
which are 1,439: (draws + 1) × 5% ÷ 36 ÷ 2 is then a whole number, as is the rank of the critical value, so that a
p-value of Holm's first step and the critical value have their level exactly, as with any larger number that divides
so (Davison & Hinkley 1997, section 4.2.5); fewer draws only add noise to the limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from analysis.intervals.simultaneous import Member, compare_family
from analysis.quality.regimes import CLEARLY_WORSE, COMPETITIVE, PREFERABLE, REGIMES, classify
from tests.counts import count, full_counts

Array = NDArray[np.float64]

DRAWS, CONFIDENCE, MARGIN = 1439, 0.95, 0.02
GROUP = 50
DATASETS, MODELS, SIZES = 3, 3, 4
NONE = np.zeros((MODELS, SIZES))


@dataclass(frozen=True, eq=False)
class Scenario:
    """What is true in a simulated study.

    ``truth`` (model, size) is the difference first − second, the same in each dataset; ``level`` (size,) the
    second's Recall. ``shared`` are the shares of the score's variance that belong to a query in a dataset, in a
    cell, for a codec and at a size; ``effect`` is the standard deviation of a seed as a whole, (codec, size), on the
    same scale.
    """

    truth: Array
    effect: Array
    n_queries: int = 300
    seeds: tuple[int, int] = (5, 3)
    level: tuple[float, ...] = (0.55, 0.70, 0.80, 0.85)
    shared: tuple[float, ...] = (0.35, 0.25, 0.10, 0.05)


REALISTIC_SEEDS = np.array([[0.04] * SIZES, [0.02] * SIZES])
SCENARIOS = {
    # Mean square of seeds ÷ within is about 1.5 and 1.1 here; the largest means measured were 1.4 for Phase-1, 1.15
    # for PQ.
    "no difference": Scenario(NONE, REALISTIC_SEEDS),
    # On and around the limits of every regime.
    "differences": Scenario(
        np.array([[-0.15, -0.10, -0.05, -0.02], [-0.05, -0.02, -0.02, 0.0], [0.0, 0.02, 0.05, 0.10]]),
        REALISTIC_SEEDS,
    ),
    "strong seeds at short codes": Scenario(
        NONE, np.array([[0.10, 0.07, 0.04, 0.02], [0.06, 0.04, 0.02, 0.01]])
    ),
    # Systems with one seed that differ on 1 to 4 queries in 100, nearly always to the same side.
    "alike": Scenario(
        np.array([[-0.03, -0.02, -0.02, -0.01], [0.0, 0.0, 0.0, 0.0], [-0.02, -0.01, 0.01, 0.03]]),
        np.zeros((2, SIZES)),
        n_queries=1000,
        seeds=(1, 1),
        level=(0.9,) * SIZES,
        shared=(0.50, 0.4990, 0.0004, 0.0004),
    ),
}


def simulate(scenario: Scenario, stream: np.random.RandomState) -> list[Member]:
    """One group of studies: members whose leading axis is the study."""
    of_dataset, of_cell, of_codec, of_size = np.sqrt(scenario.shared)
    level = np.array(scenario.level)
    shape = (GROUP, MODELS, SIZES)
    members = []
    for dataset in range(DATASETS):
        query = of_dataset * stream.standard_normal((GROUP, 1, 1, 1, scenario.n_queries))
        query = query + of_cell * stream.standard_normal((GROUP, MODELS, 1, 1, scenario.n_queries))
        found = []
        for recall, effect, seeds in zip(
            (level + scenario.truth, level + 0 * scenario.truth), scenario.effect, scenario.seeds, strict=True
        ):
            of_seed = effect[:, None, None] * (
                stream.standard_normal((GROUP, 1, 1, seeds, 1))
                + stream.standard_normal((GROUP, MODELS, 1, seeds, 1))
            )
            common = query + of_codec * stream.standard_normal((GROUP, MODELS, 1, 1, scenario.n_queries))
            common = common + of_size * stream.standard_normal((*shape, 1, scenario.n_queries))
            score = stream.standard_normal((*shape, seeds, scenario.n_queries))
            score *= np.sqrt(1 - sum(scenario.shared) - effect**2)[:, None, None]
            score += common
            score += of_seed / np.sqrt(2) + norm.ppf(recall)[..., None, None]
            found.append((score > 0).astype(np.float32))
        members += [
            Member(found[0][:, model, size], found[1][:, model, size], dataset, size)
            for model in range(MODELS)
            for size in range(SIZES)
        ]
    return members


@dataclass(frozen=True, eq=False)
class Figures:
    """What the studies of a scenario gave: every array is (study, member)."""

    covered: NDArray[np.bool_]
    covered_together: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    regime: NDArray[np.str_]
    truth: Array


@cache
def run(name: str) -> Figures:
    scenario = SCENARIOS[name]
    truth = np.tile(scenario.truth.ravel(), DATASETS)
    parts = []
    for group in range(count(full=5000, quick=100) // GROUP):
        members = simulate(scenario, np.random.RandomState(20_000 + group))
        difference, p_holm, simultaneous = compare_family(members, DRAWS, 10 * group, CONFIDENCE)
        parts.append(
            (
                (difference.low <= truth) & (truth <= difference.high),
                (simultaneous.low <= truth) & (truth <= simultaneous.high),
                # Holm multiplies by 36 what 36 divided: a p-value at the level may end above it.
                p_holm <= 1 - CONFIDENCE + 1e-9,
                classify(simultaneous.low, simultaneous.high, MARGIN),
            )
        )
    covered, together, rejected, regime = (np.concatenate(part) for part in zip(*parts, strict=True))
    figures = Figures(covered, together, rejected, regime, truth)
    report(name, figures)
    return figures


def false_regimes(figures: Figures) -> dict[str, NDArray[np.bool_]]:
    """Whether a study gives a regime that is not so anywhere: (study,) for each regime."""
    truth, regime = figures.truth, figures.regime
    wrong = {CLEARLY_WORSE: truth >= -MARGIN, PREFERABLE: truth <= 0, COMPETITIVE: np.abs(truth) > MARGIN}
    return {name: ((regime == name) & where).any(axis=1) for name, where in wrong.items()}


def report(name: str, figures: Figures) -> None:
    together = figures.covered_together.all(axis=1).mean()
    print(f"\n{name}, {len(figures.covered)} studies: interval {figures.covered.mean():.1%}, ", end="")
    print(f"all intervals together {together:.1%}, ", end="")
    print(f"Holm, any false {(figures.rejected & (figures.truth == 0)).any(axis=1).mean():.1%}")
    for regime, wrong in false_regimes(figures).items():
        print(f"  any false {regime!r}: {wrong.mean():.1%}")
    for value in np.unique(figures.truth):
        at = figures.truth == value
        shares = {regime: (figures.regime[:, at] == regime).mean() for regime in REGIMES}
        print(f"  true difference {value:+.2f}: Holm rejects {figures.rejected[:, at].mean():.1%}; ", end="")
        print(", ".join(f"{regime} {share:.1%}" for regime, share in shares.items()))


def slack(rate: float, studies: int) -> float:
    """Three binomial standard errors for the reduced runs; the full number is held to the bare limits."""
    return 0.0 if full_counts() else 3 * float(np.sqrt(rate * (1 - rate) / studies))


@pytest.mark.parametrize("name", SCENARIOS)
def test_coverage(name: str) -> None:
    figures = run(name)
    together, studies = figures.covered_together.all(axis=1).mean(), len(figures.regime)
    assert 0.93 - slack(0.93, studies) <= together <= 0.97 + slack(0.97, studies)
    assert 0.93 <= figures.covered.mean() <= 0.97


@pytest.mark.parametrize("name", SCENARIOS)
def test_false_positives_and_false_regimes(name: str) -> None:
    figures = run(name)
    most = 0.06 + slack(0.06, len(figures.regime))
    assert (figures.rejected & (figures.truth == 0)).any(axis=1).mean() <= most
    for wrong in false_regimes(figures).values():
        assert wrong.mean() <= most


@pytest.mark.parametrize(
    ("name", "truth", "regime", "least"),
    [
        ("differences", -0.15, CLEARLY_WORSE, 0.95),
        ("differences", -0.10, CLEARLY_WORSE, 0.60),
        ("differences", 0.05, PREFERABLE, 0.25),
        ("differences", 0.10, PREFERABLE, 0.95),
        ("alike", 0.0, COMPETITIVE, 0.95),
        ("alike", 0.03, PREFERABLE, 0.95),
    ],
)
def test_what_is_there_is_found(name: str, truth: float, regime: str, least: float) -> None:
    figures = run(name)
    assert (figures.regime[:, figures.truth == truth] == regime).mean() >= least
