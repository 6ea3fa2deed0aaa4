"""INT8: uniform scalar quantisation (Gersho & Gray 1992), every coordinate on its own grid of 256 levels.

All of it is element-wise IEEE arithmetic in float64, so codes and decoded vectors are bit-identical on every
machine; the state is float64 because a range close to the resolution of float32 would otherwise lose its step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, search_decoded
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks


@dataclass(frozen=True)
class Int8Codec:
    """Per-dimension affine codes of 256 levels between the least and greatest value of the sample.

    code = clip(round((x - minimum) / step), 0, 255) with step = (maximum - minimum) / 255, rounded half to
    even. Values outside the sample's range are clipped. A dimension that was constant in the sample has step
    0: it encodes to 0 and decodes to its constant.
    """

    name: ClassVar[str] = "int8"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "minimum": Field(("dimension",), "float64", "lower end of each dimension's range"),
        "step": Field(("dimension",), "float64", "width of one level of each dimension"),
    }

    def fit(self, sample: Floats) -> State:
        """`minimum` and `step`, both (dimension,) float64. InvalidInput for an empty or non-finite sample."""
        minimum, maximum = value_range(sample, self.name)
        return {"minimum": minimum, "step": (maximum - minimum) / 255}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, dimension) uint8."""
        minimum, step = state["minimum"], state["step"]
        check_vectors(vectors, len(minimum))
        codes = np.empty(vectors.shape, dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            codes[rows] = levels_of(vectors[rows], minimum, step, 0, 255)
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: minimum + step * code, computed in float64."""
        minimum, step = state["minimum"], state["step"]
        check_codes(codes, len(minimum), np.uint8)
        vectors = np.empty(codes.shape, dtype=np.float32)
        for rows in cached_blocks(vectors):
            numbers = codes[rows] * step
            vectors[rows] = np.add(numbers, minimum, out=numbers)
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return dimension


OFFERS = (Int8Codec,)


def value_range(sample: Floats, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value of each dimension."""
    check_vectors(sample)
    if not len(sample):
        raise InvalidInput(f"{name} is fitted on no documents: give at least one")
    return sample.min(axis=0).astype(np.float64), sample.max(axis=0).astype(np.float64)


def cached_blocks(vectors: NDArray[Any]) -> list[slice]:
    """Blocks of rows whose float64 copies stay in the second-level cache."""
    rows, dimension = vectors.shape
    return row_blocks(rows, 16 * dimension)


def levels_of(
    vectors: Floats, zero: NDArray[np.float64], step: NDArray[np.float64], least: int, most: int
) -> NDArray[Any]:
    """(rows, dimension) float64 integers: how many steps each coordinate lies from `zero`, clipped."""
    levels = vectors.astype(np.float64)
    levels -= zero
    levels /= np.where(step > 0, step, np.inf)
    return np.clip(np.rint(levels, out=levels), least, most, out=levels)
