"""Scalar quantisation: every coordinate on its own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Floats, Scoring, State, check_codes, check_vectors, row_blocks
from store.errors import InvalidInput


@dataclass(frozen=True)
class Int8Codec:
    """Per-dimension affine codes of 256 levels between the least and greatest value of the sample.

    code = clip(round((x - minimum) / step), 0, 255) with step = (maximum - minimum) / 255, rounded half to
    even. Values outside the sample's range are clipped. A dimension that was constant in the sample has step
    0: it encodes to 0 and decodes to its constant.

    All of it is element-wise IEEE arithmetic in float64, so codes and decoded vectors are bit-identical on
    every machine; the state is float64 because a range close to the resolution of float32 would otherwise
    lose its step.
    """

    name: ClassVar[str] = "int8"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"

    def fit(self, sample: Floats) -> State:
        """`minimum` and `step`, both (dimension,) float64. InvalidInput for an empty or non-finite sample."""
        check_vectors(sample)
        if not len(sample):
            raise InvalidInput("int8 is fitted on no documents: give at least one")
        minimum = sample.min(axis=0).astype(np.float64)
        return {"minimum": minimum, "step": (sample.max(axis=0).astype(np.float64) - minimum) / 255}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, dimension) uint8."""
        minimum, step = state["minimum"], state["step"]
        check_vectors(vectors, len(minimum))
        divisor = np.where(step > 0, step, np.inf)
        codes = np.empty(vectors.shape, dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            levels = vectors[rows].astype(np.float64)
            levels -= minimum
            levels /= divisor
            np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
            codes[rows] = levels
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: minimum + step * code, computed in float64."""
        minimum, step = state["minimum"], state["step"]
        check_codes(codes, len(minimum), np.uint8)
        vectors = np.empty(codes.shape, dtype=np.float32)
        for rows in row_blocks(*codes.shape):
            vectors[rows] = codes[rows] * step + minimum
        return vectors

    def bytes_per_vector(self, dimension: int) -> int:
        return dimension
