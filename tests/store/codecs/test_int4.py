"""Grids of 4 bits, and what they share with those of 8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.codecs.base import Decodable
from store.codecs.int4 import Int4Codec
from store.codecs.int8 import Int8Codec
from tests.store.codecs.codec_contract import DIMENSION, DecodableContract, vectors


class TestInt4(DecodableContract):
    def codec(self) -> Decodable:
        return Int4Codec()

    def test_grid_is_that_of_the_definition(self) -> None:
        sample = np.array([[0, -7, 3], [14, 7, 3], [5, 0.25, 3]], dtype=np.float32)
        state = Int4Codec().fit(sample)
        assert state["middle"].tolist() == [7, 0, 3]
        assert state["step"].tolist() == [1, 1, 0]
        vectors = np.array([[0.5, -7, 3], [1.5, 7, 4], [7, -9, 2], [14, 99, 3]], dtype=np.float32)
        codes = Int4Codec().encode(state, vectors)
        # Levels -6 -7 0 | -6 7 0 | 0 -7 0 | 7 7 0: halves go to the even level, values beyond the range to its
        # ends, a constant dimension to 0.
        assert codes.tolist() == [[0xA9, 0x00], [0xA7, 0x00], [0x09, 0x00], [0x77, 0x00]]
        decoded = Int4Codec().decode(state, codes)
        assert decoded.tolist() == [[1, -7, 3], [1, 7, 3], [7, -7, 3], [14, 7, 3]]

    def test_the_first_dimension_stands_in_the_upper_half(self) -> None:
        state = {"middle": np.zeros(4), "step": np.ones(4)}
        codes = Int4Codec().encode(state, np.array([[1, 2, -3, -1]], dtype=np.float32))
        assert codes.tolist() == [[0x12, 0xDF]]
        assert Int4Codec().decode(state, codes).tolist() == [[1, 2, -3, -1]]

    def test_fifteen_levels_are_used_and_none_beyond_them(self) -> None:
        state = {"middle": np.zeros(1), "step": np.full(1, 0.5)}
        line = np.linspace(-100, 100, 4001, dtype=np.float32)[:, None]
        codes = Int4Codec().encode(state, line)
        assert set(Int4Codec().decode(state, codes)[:, 0].tolist()) == {i / 2 for i in range(-7, 8)}
        assert not (codes & 15).any()

    @pytest.mark.parametrize(("dimension", "size"), [(1, 1), (2, 1), (23, 12), (24, 12), (384, 192)])
    def test_half_a_byte_a_dimension(self, dimension: int, size: int) -> None:
        assert Int4Codec().bytes_per_vector(dimension) == size

    def test_error_is_at_most_half_a_step_within_the_range(self) -> None:
        sample = vectors(500, seed=4)
        state = Int4Codec().fit(sample)
        decoded = Int4Codec().decode(state, Int4Codec().encode(state, sample)).astype(np.float64)
        assert (np.abs(decoded - sample) <= state["step"] / 2 + 1e-7).all()
        assert np.abs(decoded - sample).max() > state["step"].max() / 2.1


@pytest.mark.parametrize("codec", [Int8Codec(), Int4Codec()])
@given(arrays(np.float32, (6, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_any_range_is_a_fixed_point_and_never_wraps(codec: Decodable, sample: NDArray[np.float32]) -> None:
    state = codec.fit(sample)
    decoded = codec.decode(state, codec.encode(state, sample))
    assert (codec.encode(state, decoded) == codec.encode(state, sample)).all()
    order = np.argsort(sample, axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(decoded, order, 0).astype(np.float64), axis=0) >= 0).all()
    rounding = state["step"] * 2.0**-40 + np.abs(sample).max() * 2.0**-52
    assert (decoded >= sample.min(axis=0) - rounding).all()
    assert (decoded <= sample.max(axis=0) + rounding).all()


@pytest.mark.parametrize("codec", [Int8Codec(), Int4Codec()])
def test_a_constant_sample_decodes_to_its_constant(codec: Decodable) -> None:
    constant = np.repeat(vectors(1, seed=1), 5, axis=0)
    state = codec.fit(constant)
    away = vectors(4, seed=9)
    assert not codec.encode(state, away).any()
    assert (codec.decode(state, codec.encode(state, away)) == constant[0]).all()
    assert constant.shape[1] == DIMENSION
