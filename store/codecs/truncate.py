"""Truncation: a vector's first dimensions, in float32 (Matryoshka style; Kusupati et al. 2022).

Vectors are scored by the inner product with what is left of them. Neither the shortened documents nor the queries
are normalised again: the score is then the part of the stored inner product that the kept numbers carry, and a
document that loses more scores lower. Dividing by the shortened length would make it a cosine, which is another
score than the other codecs have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, check_least, search_decoded
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_codes, check_vectors


@dataclass(frozen=True)
class TruncateCodec:
    """The first dimensions (Matryoshka style; Kusupati et al. 2022); the others decode to zero.

    dimensions: how many are kept.
    """

    dimensions: int

    name: ClassVar[str] = "truncate"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "full_dimension": Field((), "int32", "dimension of the vectors before truncation")
    }

    def __post_init__(self) -> None:
        check_least(self, dimensions=1)

    def fit(self, sample: Floats) -> State:
        """`full_dimension`, int32 without axes. InvalidInput for fewer dimensions than `dimensions`."""
        check_vectors(sample)
        self.check_shape(*sample.shape)
        return {"full_dimension": np.array(sample.shape[1], dtype=np.int32)}

    def check_shape(self, documents: int, dimension: int) -> None:
        """Refuse fewer dimensions than `dimensions`."""
        check_dimension(self.dimensions, dimension)

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, 4 × dimensions) uint8: float32 numbers, the least significant byte first."""
        check_vectors(vectors, int(state["full_dimension"]))
        return bytes_of(vectors[:, : self.dimensions].astype(np.float32))

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32, zero beyond the first `dimensions`."""
        vectors = np.zeros((len(codes), int(state["full_dimension"])), dtype=np.float32)
        vectors[:, : self.dimensions] = numbers_of(codes, self.dimensions)
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return 4 * self.dimensions


OFFERS = (TruncateCodec,)


def check_dimension(dimensions: int, dimension: int) -> None:
    if dimensions > dimension:
        raise InvalidInput(f"dimensions is {dimensions}: give at most the dimension {dimension}")


def bytes_of(numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(numbers, dtype="<f4").view(np.uint8)


def numbers_of(codes: NDArray[np.uint8], dimensions: int) -> NDArray[np.float32]:
    check_codes(codes, 4 * dimensions, np.uint8)
    return np.ascontiguousarray(codes).view("<f4").astype(np.float32)
