"""Sums whose rounding is known: the same on every machine, or bounded on any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sum_rows(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum (rows, terms) float64 over each row by folding it in halves; overwrites `terms`.

    Only element-wise additions are used, in an order that depends on the number of terms alone, so the
    rounded sums are the same on every machine. The error is at most ceil(log2(terms)) roundings of the sum of
    absolute values.
    """
    width = terms.shape[1]
    while width > 1:
        half = (width + 1) // 2
        terms[:, : width - half] += terms[:, half:width]
        width = half
    return terms[:, 0].copy()


def float32_error_share(terms: int) -> float:
    """Largest error of a float32 sum of `terms` products, as a share of the sum of the absolute products.

    This is gamma_n = n u / (1 - n u) with u = 2^-24 (Higham 2002, section 3.1). It holds for every order of
    summation and for fused multiply-add, hence for every BLAS, unless products underflow.
    """
    return terms * 2.0**-24 / (1 - terms * 2.0**-24)
