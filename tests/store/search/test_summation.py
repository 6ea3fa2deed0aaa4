"""Sums of declared order and bounded error."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.search.summation import float32_error_share, sum_rows
from tests.oracles.search import folded_score


@given(arrays(np.float64, (3, 7), elements=st.floats(-1e6, 1e6)))
def test_rows_are_summed_in_the_declared_order(terms: NDArray[np.float64]) -> None:
    expected = [folded_score(row, np.ones(len(row))) for row in terms]
    assert sum_rows(terms.copy()).tolist() == expected


def test_float32_error_stays_below_its_bound() -> None:
    draw = np.random.RandomState(0)
    for width in (1, 2, 24, 384):
        a, b = draw.standard_normal((2, 50, width)).astype(np.float32)
        exact = (a.astype(np.float64) * b).sum(axis=1)
        absolute = np.abs(a.astype(np.float64) * b).sum(axis=1)
        for computed in (np.einsum("ij,ij->i", a, b), (a @ b.T).diagonal()):
            assert (np.abs(computed - exact) <= float32_error_share(width) * absolute).all()
    shares = [float32_error_share(width) for width in (1, 24, 384)]
    assert all(small < large for small, large in pairwise(shares))
    assert shares[0] == pytest.approx(2.0**-24)
