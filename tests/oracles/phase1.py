"""Slow oracles of the Phase-1 engine: rational arithmetic for the signs, a full sort for the neighbours."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


def gaussian_projection(bits: int, dimension: int, seed: int) -> NDArray[np.float64]:
    """W, drawn one row at a time, which is what makes a shorter code a prefix."""
    state = np.random.RandomState(seed)
    return np.stack([state.standard_normal(dimension) for _ in range(bits)])


def exact_sum(x: NDArray[Any], w: NDArray[np.float64]) -> Fraction:
    """The inner product of two rows as a rational number."""
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, w, strict=True)), Fraction(0))


def exact_codes(vectors: NDArray[Any], projection: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Codes by definition: bit = exact sum > 0, first bit most significant."""
    width = len(projection) // 8
    codes = np.zeros((len(vectors), width), np.uint8)
    for row, x in enumerate(vectors):
        for bit, w in enumerate(projection):
            if exact_sum(x, w) > 0:
                codes[row, bit // 8] += 2 ** (7 - bit % 8)
    return codes


def sorted_neighbours(
    queries: NDArray[np.uint8], documents: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All distances, sorted by (distance, row), cut at k."""
    differing = np.unpackbits(queries[:, None, :] ^ documents[None, :, :], axis=2)
    distances = differing.sum(axis=2, dtype=np.int32)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k].astype(np.int64)
    return np.take_along_axis(distances, rows, axis=1), rows
