"""Products that round the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from store.numerics.products import coarse_product, product


def drawn(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    draw = np.random.RandomState(seed)
    return draw.standard_normal((rows, columns)) * np.exp(draw.standard_normal((rows, 1)) * 20)


@pytest.mark.parametrize("terms", [1, 7, 384, 5000])
def test_the_error_is_within_its_bound(terms: int) -> None:
    left, right = drawn(30, terms, 0), drawn(20, terms, 1).T
    exact = left.astype(np.longdouble) @ right.astype(np.longdouble)
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=0)
    assert (np.abs(product(left, right) - exact) <= 2.0**-44 * lengths).all()


def test_no_order_of_summation_changes_a_bit() -> None:
    left, right = drawn(40, 700, 2), drawn(30, 700, 3).T
    found = product(left, right)
    order = np.random.RandomState(4).permutation(700)
    assert (product(left[:, order], right[order]) == found).all()
    assert (product(left[5:6], right[:, 3:4]) == found[5:6, 3:4]).all()
    assert (product(np.asfortranarray(left), right) == found).all()
    assert (found == product(right.T, left.T).T).all()


def test_coarse_products_are_exact_on_their_grid() -> None:
    draw = np.random.RandomState(5)
    left, right = draw.standard_normal((50, 300)) / 18, draw.standard_normal((300, 40)) / 18
    found = coarse_product(left, right)
    lines = [np.rint(matrix * 2.0**25).astype(object) for matrix in (left, right)]
    assert (found * 2.0**50 == (lines[0] @ lines[1]).astype(np.float64)).all()


def test_zeros_have_one_sign_and_extreme_sizes_stay_finite() -> None:
    zero = product(np.array([[-1.0, 1.0]]), np.array([[0.0], [0.0]]))
    assert not np.signbit(zero).any()
    huge = product(np.full((1, 3), 1e200), np.full((3, 1), 1e100))
    assert huge[0, 0] == pytest.approx(3e300, rel=1e-13)
    tiny = product(np.full((1, 3), 1e-200), np.full((3, 1), 1e-100))
    assert tiny[0, 0] == pytest.approx(3e-300, rel=1e-13)
    assert product(np.empty((0, 3)), np.ones((3, 2))).shape == (0, 2)


def test_more_terms_than_are_exact_are_refused() -> None:
    with pytest.raises(ValueError, match="65537 terms may round"):
        product(np.ones((1, 65_537)), np.ones((65_537, 1)))
