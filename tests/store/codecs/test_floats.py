"""Casts to narrower floating-point types."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Decodable
from store.codecs.floats import BFloat16Codec, Float8Codec, Float16Codec, Float32Codec
from tests.store.codecs.codec_contract import LARGEST, DecodableContract, same, vectors


class CastContract(DecodableContract):
    LEARNS = False
    DIMENSION_IS_IN_THE_STATE = False


class TestFloat32(CastContract):
    def codec(self) -> Decodable:
        return Float32Codec()

    def test_vectors_come_back_unchanged(self) -> None:
        documents = self.documents()
        decoded = self.codec().decode({}, self.codec().encode({}, documents))
        assert same(decoded.astype(np.float16), documents)

    def test_a_code_is_the_number_from_its_least_significant_byte_on(self) -> None:
        codes = self.codec().encode({}, np.array([[1.0, -2.0]], dtype=np.float32))
        assert codes.tolist() == [[0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0]]


class TestFloat16(CastContract):
    def codec(self) -> Decodable:
        return Float16Codec()

    def test_stored_vectors_are_their_own_codes(self) -> None:
        documents = self.documents()
        codes = self.codec().encode({}, documents)
        assert codes.tobytes() == documents.astype("<f2").tobytes()


class TestBFloat16(CastContract):
    def codec(self) -> Decodable:
        return BFloat16Codec()

    def test_a_code_is_the_upper_half_of_a_float32(self) -> None:
        codes = self.codec().encode({}, np.array([[1.0, -3.0]], dtype=np.float32))
        assert codes.tolist() == [[0x80, 0x3F, 0x40, 0xC0]]


class TestFloat8(CastContract):
    def codec(self) -> Decodable:
        return Float8Codec()

    def test_codes_are_those_of_the_standard(self) -> None:
        # Largest, one, smallest normal, smallest subnormal, and what lies beyond: clipped, never NaN (0x7F).
        numbers = np.array([[448, 1, 2**-6, 2**-9, 460, 1e9, -1e9, LARGEST, -0.0]], dtype=np.float32)
        assert self.codec().encode({}, numbers).tolist() == [
            [0x7E, 0x38, 0x08, 0x01, 0x7E, 0x7E, 0xFE, 0x7E, 0x80]
        ]


@pytest.mark.parametrize(
    ("codec", "size"), [(Float32Codec(), 4), (Float16Codec(), 2), (BFloat16Codec(), 2), (Float8Codec(), 1)]
)
def test_bytes_of_a_vector(codec: Decodable, size: int) -> None:
    assert codec.bytes_per_vector(384) == 384 * size


def representable(exponents: range, fraction_bits: int, smallest: float) -> NDArray[np.float64]:
    """Every number of a floating-point type at and above zero: subnormals, then 2^e (1 + i / 2^fraction)."""
    parts = 1 << fraction_bits
    subnormal = [i * smallest for i in range(parts)]
    normal = [math.ldexp(1 + i / parts, e) for e in exponents for i in range(parts)]
    return np.array(subnormal + normal)


GRIDS = {
    "float16": representable(range(-14, 16), 10, 2.0**-24),
    "bfloat16": representable(range(-126, 128), 7, 2.0**-133),
    "float8": representable(range(-6, 9), 3, 2.0**-9)[:-1],
}
"""The last pattern of float8 is NaN."""


@pytest.mark.parametrize("codec", [Float16Codec(), BFloat16Codec(), Float8Codec()])
def test_numbers_are_rounded_to_the_nearest_and_halves_to_even(codec: Decodable) -> None:
    grid = GRIDS[codec.name]
    draw = np.random.RandomState(0)
    middles = ((grid[:-1] + grid[1:]) / 2).astype(np.float32)
    some = draw.choice(middles[np.isfinite(middles)], 200)
    spread = np.ldexp(1 + draw.random_sample(200), draw.randint(-30, 20, 200))
    numbers = np.concatenate([some, np.nextafter(some, np.float32(0)), spread, [grid[-1] * 1.001, 0, 1e38]])
    numbers = numbers.astype(np.float32)
    numbers[::2] *= -1
    decoded = codec.decode({}, codec.encode({}, numbers[None]))[0]
    assert np.abs(decoded).max() == grid[-1]
    for number, found in zip(numbers.tolist(), decoded.tolist(), strict=True):
        at = int(np.searchsorted(grid, abs(number)))
        near = [i for i in (at - 1, at) if 0 <= i < len(grid)]
        # Places count from zero, so an even place is an even last digit.
        best = min(near, key=lambda i: (abs(Fraction(float(grid[i])) - Fraction(abs(number))), i % 2))
        assert found == math.copysign(grid[best], number)


def test_the_types_are_those_of_ml_dtypes() -> None:
    numbers = vectors(50, seed=1).astype(np.float32)
    for codec, dtype in ((BFloat16Codec(), ml_dtypes.bfloat16), (Float8Codec(), ml_dtypes.float8_e4m3fn)):
        assert codec.encode({}, numbers).tobytes() == numbers.astype(dtype).tobytes()
