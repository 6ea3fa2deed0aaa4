"""RaBitQ (Gao & Long 2024): one bit a dimension, and two factors that make the inner product unbiased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, check_least
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.linear import product, rounded
from store.numerics.rotations import random_rotation
from store.search.inner_product import InnerProductTopK
from store.search.neighbours import Neighbours, TopK
from store.search.summation import sum_rows
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks

_FACTORS = np.dtype("<f4")
_FACTOR_BYTES = 2 * _FACTORS.itemsize
_LARGEST = 1e30  # of a factor


@dataclass(frozen=True)
class RaBitQCodec:
    """Packed signs of the rotated residual from a centre, followed by the factors `scale` and `offset`.

    seed: of the random rotation P. The centre c is the mean of the sample.

    With r = P'(x - c), the signs s of its coordinates and scale = |r|^2 / |r|_1, the paper's estimate of
    <x - c, q - c> is scale <s, P'(q - c)>: there written as |x - c| |q - c| <o-bar, q> / <o-bar, o> with the unit
    vectors o = r / |r| and o-bar = s / sqrt(dimension). The rotation being random, it is unbiased. As
    <x, q> = <x - c, q - c> + <c, q> + <x - c, c>, the inner product is estimated by

        <c + scale P s, q> + offset,    offset = <x - c, c> - scale <P s, c>,

    and the offset makes that exact at q = c. A vector alone cannot represent such a code: `decode` gives c + scale
    P s, and `search` ranks by its inner product with the query plus the offset. Without the offset the estimate is
    unbiased too, but its error grows with |q| in place of |q - c|, which for off-centre embeddings is larger.
    """

    seed: int

    name: ClassVar[str] = "rabitq"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "mean": Field(("dimension",), "float32", "mean of the sample, the centre"),
        "rotation": Field(("dimension", "rotated"), "float32", "random rotation of the residuals"),
    }

    def __post_init__(self) -> None:
        check_least(self, seed=0)

    def fit(self, sample: Floats) -> State:
        """`mean` (dimension,) and `rotation` (dimension, dimension), both float32, the latter multiples of 2^-24.

        The rotation is `random_rotation` of the seed. Raises InvalidInput for an empty sample.
        """
        check_vectors(sample)
        if not len(sample):
            raise InvalidInput("RaBitQ is fitted on no documents: give at least one")
        dimension = sample.shape[1]
        return {
            "mean": sample.mean(axis=0, dtype=np.float64).astype(np.float32),
            "rotation": rounded(random_rotation(dimension, self.seed)),
        }

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, ceil(dimension / 8) + 8) uint8: signs, the first in the most significant place of its byte
        and 1 above zero, then `scale` and `offset` as little-endian float32.

        A vector equal to the centre has signs and factors 0. Factors are clipped to 1e30, which leaves room in
        float32 for results computed from them.
        """
        mean, rotation = state["mean"], state["rotation"]
        check_vectors(vectors, len(mean))
        codes = np.empty((len(vectors), self.bytes_per_vector(len(mean))), dtype=np.uint8)
        center = product(mean[None], rotation)
        for rows in row_blocks(*vectors.shape):
            residual = product(vectors[rows], rotation) - center
            positive = residual > 0
            absolute = sum_rows(np.abs(residual))
            scale = sum_rows(np.square(residual)) / np.where(absolute > 0, absolute, 1)
            offset = sum_rows((residual - np.where(positive, scale[:, None], -scale[:, None])) * center)
            factors = np.clip(np.stack([scale, offset], axis=1), -_LARGEST, _LARGEST)
            codes[rows, :-_FACTOR_BYTES] = np.packbits(positive, axis=1)
            codes[rows, -_FACTOR_BYTES:] = factors.astype(_FACTORS).view(np.uint8)
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: the centre plus the scaled signs, rotated back; without the offset."""
        mean, rotation = state["mean"], state["rotation"]
        scaled, _ = _scaled_signs(codes, len(mean))
        vectors = np.empty(scaled.shape, dtype=np.float32)
        for rows in row_blocks(*scaled.shape):
            vectors[rows] = product(scaled[rows], rotation.T) + mean
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        """Search by the estimated inner product. The queries are rotated, once, in place of every document."""
        return _EstimateTopK(state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return -(-dimension // 8) + _FACTOR_BYTES


OFFERS = (RaBitQCodec,)


class _EstimateTopK:
    """A query (P'q, 1) meets a document (scale s + P'c, offset), whose inner product is the estimate."""

    def __init__(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None) -> None:
        mean, rotation = state["mean"], state["rotation"]
        check_vectors(queries, len(mean))
        rotated = np.ones((len(queries), len(mean) + 1), dtype=np.float32)
        for rows in row_blocks(*queries.shape):
            rotated[rows, :-1] = product(queries[rows], rotation)
        self._center = product(mean[None], rotation)
        self._top = InnerProductTopK(rotated, k, exclude)

    def update(self, block: NDArray[Any], first_row: int) -> None:
        dimension = self._center.shape[1]
        for rows in row_blocks(len(block), dimension):
            scaled, offset = _scaled_signs(block[rows], dimension)
            estimators = np.concatenate([scaled + self._center, offset[:, None]], axis=1, dtype=np.float32)
            self._top.update(estimators, first_row + rows.start)

    def result(self) -> Neighbours:
        return self._top.result()


def _scaled_signs(
    codes: NDArray[np.uint8], dimension: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(documents, dimension) float32 signs times scale, and (documents,) float32 offsets."""
    check_codes(codes, -(-dimension // 8) + _FACTOR_BYTES, np.uint8)
    factors = np.ascontiguousarray(codes[:, -_FACTOR_BYTES:]).view(_FACTORS).astype(np.float32)
    positive = np.unpackbits(codes[:, :-_FACTOR_BYTES], axis=1, count=dimension)
    return np.where(positive, factors[:, :1], -factors[:, :1]), factors[:, 1]
