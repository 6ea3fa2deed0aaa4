"""The Phase-1 engine as a codec: random-hyperplane LSH, also called SimHash (Charikar 2002).

The engine itself, `store.codecs.phase1`, is frozen, its docstring included.
Source: Charikar 2002, *Similarity estimation techniques from rounding algorithms*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs import phase1
from store.codecs.base import Scoring, State, search_hamming
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.linear import product, rounded
from store.search.neighbours import TopK
from store.search.summation import sum_rows
from store.search.vectors import Floats, check_vectors, row_blocks

_LEAST_POSITIVE = np.nextafter(0, 1)


@dataclass(frozen=True)
class Phase1Codec:
    """Packed signs of Gaussian projections, compared by Hamming distance (SimHash; Charikar 2002).

    bits: length of the code, a multiple of 8; the code of a shorter length is a prefix of a longer one.
    seed: of the projection.
    """

    bits: int
    seed: int

    name: ClassVar[str] = "phase1"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "hamming"
    PREFIXES: ClassVar[bool] = True
    STATE: ClassVar[Mapping[str, Field]] = {}

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise InvalidInput(f"bits is {self.bits}: give a positive multiple of 8")

    def fit(self, sample: Floats) -> State:
        """Nothing to learn: the projection follows from the seed."""
        check_vectors(sample)
        return {}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, bits / 8) uint8, first bit in the most significant place."""
        return phase1.encode(vectors, self.bits, self.seed)

    def project(self, state: State, vectors: Floats) -> NDArray[np.float64]:
        """(rows, bits) float64: W x, with W rounded to multiples of 2^-24 of the length of its longest row.

        That is within 2^-24 sqrt(dimension) of that length times the length of x. Where it gave a number another
        sign than that of the exact sum, which is the bit's, the number becomes the nearest one that has the sign.
        """
        bits = np.unpackbits(self.encode(state, vectors), axis=1).astype(np.bool_)
        projection = np.random.RandomState(self.seed).standard_normal((self.bits, vectors.shape[1]))
        _, exponent = np.frexp(sum_rows(np.square(projection)).max())
        scale = 2.0 ** ((exponent + 1) // 2)
        matrix = rounded(projection.T / scale)
        projected = np.empty(bits.shape)
        for rows in row_blocks(len(vectors), max(projection.shape)):
            projected[rows] = product(vectors[rows], matrix) * scale
        return np.where(bits, np.maximum(projected, _LEAST_POSITIVE), np.minimum(projected, 0))

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_hamming(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.bits // 8


OFFERS = (Phase1Codec,)
