"""Grids of 8 bits."""

from __future__ import annotations

import numpy as np

from store.codecs.base import Decodable
from store.codecs.int8 import Int8Codec
from tests.store.codecs.codec_contract import DecodableContract, vectors


class TestInt8(DecodableContract):
    def codec(self) -> Decodable:
        return Int8Codec()

    def test_grid_is_that_of_the_definition(self) -> None:
        sample = np.array([[0, -1, 7], [255, 1, 7], [10, 0.25, 7]], dtype=np.float32)
        state = Int8Codec().fit(sample)
        assert state["minimum"].tolist() == [0, -1, 7]
        assert state["step"].tolist() == [1, 2 / 255, 0]
        vectors = np.array([[0.5, -1, 7], [1.5, 1, 7], [2.5, -3, 8], [254.5, 9, -8]], dtype=np.float32)
        codes = Int8Codec().encode(state, vectors)
        # Halves go to the even level, values beyond the range to its ends, a constant dimension to 0.
        assert codes.tolist() == [[0, 0, 0], [2, 255, 0], [2, 0, 0], [254, 255, 0]]
        decoded = Int8Codec().decode(state, codes)
        assert decoded.tolist() == [[0, -1, 7], [2, 1, 7], [2, -1, 7], [254, 1, 7]]

    def test_error_is_at_most_half_a_step_within_the_range(self) -> None:
        sample = vectors(500, seed=4)
        state = Int8Codec().fit(sample)
        decoded = Int8Codec().decode(state, Int8Codec().encode(state, sample)).astype(np.float64)
        assert (np.abs(decoded - sample) <= state["step"] / 2 + 1e-7).all()
        assert np.abs(decoded - sample).max() > state["step"].max() / 2.1
