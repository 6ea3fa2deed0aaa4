"""Linear maps that give a row the same bits in every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.numerics.linear import product, rounded
from tests.oracles.quantizers import exact_product
from tests.store.codecs.codec_contract import same, vectors


def axes(dimension: int, seed: int, out: int | None = None) -> NDArray[np.float32]:
    """(dimension, out) orthonormal columns on the grid."""
    drawn = np.random.RandomState(seed).standard_normal((dimension, dimension))
    return rounded(np.linalg.qr(drawn)[0][:, :out])


def test_entries_go_to_the_nearest_multiple() -> None:
    step = 2.0**-24
    given = np.array([[0.3 * step, 0.7 * step, -1.0, 0.1], [-0.3 * step, 2.5 * step, 1 + step / 4, -0.1]])
    found = rounded(given)
    assert found.dtype == np.float32
    tenth = round(0.1 / step) * step
    assert found.tolist() == [[0, step, -1, tenth], [0, 2 * step, 1, -tenth]]
    assert not np.signbit(found[1, 0])
    assert same(rounded(found), found)


@pytest.mark.parametrize("bad", [1 + 2.0**-23, -1.5, np.nan, np.inf])
def test_entries_beyond_one_are_refused(bad: float) -> None:
    with pytest.raises(InvalidInput, match="matrix holds an entry that is larger than 1 or NaN"):
        rounded(np.array([[0.5, bad]]))


HALVES = arrays(np.float16, (3, 5), elements=st.floats(-0.875, 0.875, width=16))
ENTRIES = arrays(np.float64, (5, 4), elements=st.floats(-0.875, 0.875))


@settings(max_examples=60)
@given(HALVES, ENTRIES)
def test_float16_rows_have_exact_products(rows: NDArray[np.float16], matrix: NDArray[np.float64]) -> None:
    grid = rounded(matrix)
    expected = exact_product(rows, grid)
    assert (
        product(rows, grid).tolist() == expected
    )  # a Fraction equals a float only if they are the same number
    assert product(rows.astype(np.float32), grid).tolist() == expected


ANY_SIZE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60)
@given(arrays(np.float32, (3, 5), elements=ANY_SIZE), ENTRIES)
def test_any_rows_are_within_the_bound(rows: NDArray[np.float32], matrix: NDArray[np.float64]) -> None:
    grid = rounded(matrix)
    found = product(rows, grid)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    for i, exact in enumerate(exact_product(rows, grid)):
        for j, value in enumerate(exact):
            bound = 2.0**-45 * 5**0.5 * lengths[i] * np.linalg.norm(grid[:, j].astype(np.float64))
            assert abs(float(value) - found[i, j]) <= bound * 1.001


@pytest.mark.parametrize("dimension", [1, 24, 384])
@pytest.mark.parametrize("kind", ["float16", "float32", "long", "short"])
def test_a_row_has_the_same_bits_in_every_batch_and_order(dimension: int, kind: str) -> None:
    rows: Any = vectors(70, seed=1, dimension=dimension)
    if kind != "float16":
        rows = np.random.RandomState(2).standard_normal((70, dimension)).astype(np.float32)
        rows *= {"float32": 1, "long": 1e30, "short": 1e-30}[kind]
    matrix = axes(dimension, seed=3)
    whole = product(rows, matrix)
    order = np.random.RandomState(4).permutation(70)
    assert same(product(rows[order], matrix), whole[order])
    for size in (1, 3, 32):
        parts = [product(rows[at : at + size], matrix) for at in range(0, 70, size)]
        assert same(np.concatenate(parts), whole)
    # The order of the summation is that of the dimensions; any other gives the same sum.
    shuffled = np.random.RandomState(5).permutation(dimension)
    assert same(product(rows[:, shuffled], matrix[shuffled]), whole)
    few = [
        product(rows, np.ascontiguousarray(matrix[:, :1])),
        product(rows, np.asfortranarray(matrix)[:, :1]),
    ]
    assert all(same(some, whole[:, :1].copy()) for some in few)


def test_lengths_far_from_one_keep_their_accuracy() -> None:
    rows = np.random.RandomState(6).standard_normal((20, 64)).astype(np.float32)
    matrix = axes(64, seed=7, out=16)
    reference = product(rows, matrix)
    for power in (-100, -40, 60, 100):
        assert same(product(np.ldexp(rows, power), matrix), np.ldexp(reference, power))
    assert np.abs(reference - rows.astype(np.float64) @ matrix).max() < 1e-12


def test_zero_rows_and_no_rows() -> None:
    matrix = axes(8, seed=8, out=3)
    found = product(np.full((2, 8), -0.0, dtype=np.float16), -matrix)
    assert found.tolist() == [[0, 0, 0]] * 2
    assert not np.signbit(found).any()
    assert product(np.empty((0, 8), dtype=np.float16), matrix).shape == (0, 3)


def test_rotating_there_and_back_returns_nearly_the_vector() -> None:
    rows = vectors(20, seed=9, dimension=48)
    rotation = axes(48, seed=10)
    there = product(rows, rotation).astype(np.float32)
    assert np.abs(product(there, np.ascontiguousarray(rotation.T)) - rows).max() < 2e-7


@pytest.mark.parametrize("matrix", [np.full((2, 2), 0.1), np.full((5, 1), 1.0), np.array([[np.nan]])])
def test_other_matrices_are_refused(matrix: NDArray[np.float64]) -> None:
    rows = np.zeros((1, len(matrix)), dtype=np.float16)
    with pytest.raises(
        InvalidInput, match="give at most 65536 rows of multiples of 2\\^-24 in columns no longer"
    ):
        product(rows, matrix.astype(np.float32))
