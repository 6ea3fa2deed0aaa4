"""INT4: uniform scalar quantisation (Gersho & Gray 1992) to 15 levels, two coordinates to a byte.

Element-wise IEEE arithmetic in float64 and a float64 state, for the reasons that `store.codecs.int8` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, search_decoded
from store.codecs.int8 import cached_blocks, levels_of, value_range
from store.leaf.schema import Field
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks


@dataclass(frozen=True)
class Int4Codec:
    """Per-dimension affine codes of the 15 levels -7 … 7, symmetric about the middle of the sample's range.

    level = clip(round((x - middle) / step), -7, 7) with step = (maximum - minimum) / 14, rounded half to even.
    Values outside the sample's range are clipped. A dimension that was constant in the sample has step 0: it
    encodes to 0 and decodes to its constant. Levels are nibbles in two's complement, two to a byte, the earlier
    dimension in the upper half; after an odd dimension the last nibble is 0.
    """

    name: ClassVar[str] = "int4"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "middle": Field(("dimension",), "float64", "middle of each dimension's range"),
        "step": Field(("dimension",), "float64", "width of one level of each dimension"),
    }

    def fit(self, sample: Floats) -> State:
        """`middle` and `step`, both (dimension,) float64. InvalidInput for an empty or non-finite sample."""
        minimum, maximum = value_range(sample, self.name)
        return {"middle": (minimum + maximum) / 2, "step": (maximum - minimum) / 14}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, dimension / 2 rounded up) uint8."""
        middle, step = state["middle"], state["step"]
        check_vectors(vectors, len(middle))
        width = self.bytes_per_vector(len(middle))
        codes = np.empty((len(vectors), width), dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            nibbles = np.zeros((rows.stop - rows.start, 2 * width), dtype=np.int8)
            nibbles[:, : len(middle)] = levels_of(vectors[rows], middle, step, -7, 7)
            halves = nibbles.view(np.uint8) & 15
            codes[rows] = halves[:, ::2] << 4 | halves[:, 1::2]
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: middle + step * level, computed in float64."""
        middle, step = state["middle"], state["step"]
        check_codes(codes, self.bytes_per_vector(len(middle)), np.uint8)
        vectors = np.empty((len(codes), len(middle)), dtype=np.float32)
        for rows in cached_blocks(vectors):
            # Shifting a signed byte to the right carries its sign along.
            levels = np.stack([codes[rows], codes[rows] << 4], axis=2).view(np.int8) >> 4
            levels = levels.reshape(len(levels), -1)[:, : len(middle)]
            numbers = levels * step
            vectors[rows] = np.add(numbers, middle, out=numbers)
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return -(-dimension // 2)


OFFERS = (Int4Codec,)
