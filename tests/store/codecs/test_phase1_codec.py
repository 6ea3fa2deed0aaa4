"""The Phase-1 engine as a codec."""

from __future__ import annotations

import math

import numpy as np
import pytest

from store.codecs import phase1
from store.codecs.base import Binary
from store.codecs.phase1_codec import Phase1Codec
from store.errors import InvalidInput
from tests.store.codecs.codec_contract import DIMENSION, BinaryContract, same


class TestPhase1(BinaryContract):
    LEARNS = False
    DIMENSION_IS_IN_THE_STATE = False
    REFUSES_ZERO = True

    def codec(self) -> Binary:
        return Phase1Codec(bits=64, seed=3)

    def test_codes_are_those_of_the_engine(self) -> None:
        documents = self.documents()
        codes = self.codec().encode({}, documents)
        assert same(codes, phase1.encode(documents, 64, 3))
        assert (codes != Phase1Codec(64, 4).encode({}, documents)).any()

    def test_shorter_codes_are_prefixes(self) -> None:
        long = Phase1Codec(128, 3).encode({}, self.documents())
        assert same(Phase1Codec(64, 3).encode({}, self.documents()), long[:, :8].copy())

    @pytest.mark.parametrize("bits", [0, -8, 12])
    def test_bits_that_are_no_bytes_are_refused(self, bits: int) -> None:
        with pytest.raises(InvalidInput, match=f"bits is {bits}: give a positive multiple of 8"):
            Phase1Codec(bits, 0)

    def test_projections_are_those_of_the_gaussian_matrix(self) -> None:
        documents = self.documents()
        matrix = np.random.RandomState(3).standard_normal((64, DIMENSION))
        products = [[math.fsum(row * weights) for weights in matrix] for row in documents.astype(np.float64)]
        np.testing.assert_allclose(self.codec().project({}, documents), products, rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            Phase1Codec(64, 3).project({}, documents.astype(np.float32) * 1e6),
            np.multiply(products, 1e6),
            rtol=0,
            atol=1,
        )

    def test_projections_without_a_sign_get_that_of_the_bit(self) -> None:
        # In two dimensions a vector can lie across a row of the matrix but for rounding: with the rounded matrix its
        # sum may then have either sign, while the bit is the sign of the exact sum.
        matrix = np.random.RandomState(3).standard_normal((64, 2))
        across = np.stack([-matrix[:, 1], matrix[:, 0]], axis=1).astype(np.float32)
        projected = self.codec().project({}, across)
        assert np.abs(projected.diagonal()).max() < 1e-6
        bits = np.unpackbits(self.codec().encode({}, across), axis=1)
        assert ((projected > 0) == bits).all()
        tiny = self.codec().project({}, np.array([[1e-45, 0]], dtype=np.float32))
        assert same(tiny > 0, (matrix[:, 0] > 0)[None])
