"""Floating-point numbers of several widths as codecs (IEEE 754-2019): the upper end of every curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, search_decoded
from store.leaf.schema import Field
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks


class _Cast:
    """Each coordinate rounded to the nearest number of a narrower type, half to even.

    Coordinates beyond the type's largest number are clipped to it. A code is the bytes of the numbers, the
    least significant first. Nothing is learned and nothing is scaled.
    """

    name: ClassVar[str]
    dtype: ClassVar[np.dtype[Any]]
    largest: ClassVar[float]
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {}

    def fit(self, sample: Floats) -> State:
        """Nothing to learn."""
        check_vectors(sample)
        return {}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, bytes of a number × dimension) uint8."""
        check_vectors(vectors)
        width = self.dtype.itemsize
        codes = np.empty((len(vectors), width * vectors.shape[1]), dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            clipped = np.clip(vectors[rows].astype(np.float32, order="C"), -self.largest, self.largest)
            numbers = clipped.astype(self.dtype).view(f"u{width}")
            codes[rows] = numbers.astype(f"<u{width}", copy=False).view(np.uint8)
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32, equal to the rounded numbers."""
        width = self.dtype.itemsize
        check_codes(codes, codes.shape[-1] // width * width, np.uint8)
        numbers = np.ascontiguousarray(codes).view(f"<u{width}").astype(f"u{width}", copy=False)
        return numbers.view(self.dtype).astype(np.float32)

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.dtype.itemsize * dimension


@dataclass(frozen=True)
class Float32Codec(_Cast):
    """The stored vectors, in float32. Embeddings stored in float16 occupy half of its bytes per vector."""

    name: ClassVar[str] = "float32"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)
    largest: ClassVar[float] = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Float16Codec(_Cast):
    """IEEE half precision: embeddings as they are stored."""

    name: ClassVar[str] = "float16"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float16)
    largest: ClassVar[float] = 65504


@dataclass(frozen=True)
class BFloat16Codec(_Cast):
    """bfloat16 (Kalamkar et al. 2019), the upper half of a float32: 8 bits of exponent, 7 of fraction."""

    name: ClassVar[str] = "bfloat16"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(ml_dtypes.bfloat16)
    largest: ClassVar[float] = float.fromhex("0x1.fep127")


@dataclass(frozen=True)
class Float8Codec(_Cast):
    """E4M3 without infinities (Micikevicius et al. 2022): 4 bits of exponent, 3 of fraction, largest number 448.

    Below 2^-6 its numbers are 2^-9 apart, which is coarse for the coordinates of long unit vectors; scaling them
    first would be another codec.
    """

    name: ClassVar[str] = "float8"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(ml_dtypes.float8_e4m3fn)
    largest: ClassVar[float] = 448


OFFERS = (Float32Codec, Float16Codec, BFloat16Codec, Float8Codec)
