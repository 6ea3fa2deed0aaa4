"""Spearman's rank correlation (1904) with permutation of whole cells or whole models.

All bits of a cell are relabelled together. For ranks centred and scaled to length 1, arranged as (cells,
bits), the correlation after the relabelling π is Σ_c gram[π(c), c] with gram = feature ranks @ target
ranks.T, so every test of a study shares one table of relabelings and one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations as enumerate_permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024  # relabelings per matrix product, to bound memory


@dataclass(frozen=True)
class Relabelings:
    """Tables of cells: row b says whose feature each cell receives, (B, cells) int64.

    exact: the rows are all relabelings, the identity among them; otherwise seeded draws.
    """

    table: NDArray[np.int64]
    exact: bool


def relabel(n: int, most: int, seed: int) -> Relabelings:
    """All n! permutations of n things when there are at most `most`, else `most` seeded draws."""
    if factorial(n) <= most:
        return Relabelings(np.array(list(enumerate_permutations(range(n))), np.int64).reshape(-1, n), True)
    random = np.random.RandomState(seed)
    return Relabelings(np.argsort(random.random_sample((most, n)), axis=1, kind="stable"), False)


def relabel_models(
    models: NDArray[np.int64], datasets: NDArray[np.int64], most: int, seed: int
) -> Relabelings | None:
    """Relabelings of cells that permute model labels the same way in every dataset; None unless fully
    crossed."""
    position = {(int(m), int(d)): cell for cell, (m, d) in enumerate(zip(models, datasets, strict=True))}
    n_models, n_datasets = len(np.unique(models)), len(np.unique(datasets))
    if len(position) != n_models * n_datasets:
        return None
    of_models = relabel(n_models, most, seed)
    where = np.array([[position[m, d] for d in range(n_datasets)] for m in range(n_models)])
    return Relabelings(where[of_models.table[:, models], datasets], of_models.exact)


def unit_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average ranks of finite, non-constant `values`, centred and scaled to length 1; same shape, float64."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=None).reshape(np.shape(values))
    ranks -= ranks.mean()
    return np.asarray(ranks / np.linalg.norm(ranks), np.float64)


def gram(feature: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cells, cells) share of the Spearman correlation when cell c receives the feature of cell i, at [i, c].

    feature, target: (cells, bits) unit ranks. The trace is Spearman's ρ.
    """
    return feature @ target.T


def permutation_p(grams: Sequence[NDArray[np.float64]], relabelings: Relabelings) -> NDArray[np.float64]:
    """Two-sided p of each gram's trace: how often a relabeling gives as large an absolute correlation.

    Exact tables give count/B. Draws give (1 + count)/(1 + B), which stays valid since the observed
    arrangement is one of the possible draws (Phipson & Smyth 2010).
    """
    if not grams:
        return np.empty(0)
    n = grams[0].shape[0]
    flat = np.stack(grams).reshape(len(grams), n * n).T
    observed = np.abs([np.trace(g) for g in grams]) - 1e-10  # equal correlations must count despite rounding
    count = np.zeros(len(grams), np.int64)
    for start in range(0, len(relabelings.table), _BLOCK):
        block = relabelings.table[start : start + _BLOCK]
        chosen = np.zeros((len(block), n * n))
        np.put_along_axis(chosen, block * n + np.arange(n), 1.0, axis=1)
        count += np.count_nonzero(np.abs(chosen @ flat) >= observed, axis=0)
    extra = 0 if relabelings.exact else 1
    return (count + extra) / (len(relabelings.table) + extra)
