"""One bit a dimension: the side of a threshold on which it is. No projection, no rotation.

It is scalar quantisation to two levels (Gersho & Gray 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, search_hamming
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.search.neighbours import TopK
from store.search.summation import sum_rows
from store.search.vectors import Floats, check_vectors, row_blocks

_STATE = {"threshold": Field(("dimension",), "float64", "value above which a coordinate's bit is 1")}


@dataclass(frozen=True)
class SignCodec:
    """Packed signs of the native coordinates, compared by Hamming distance.

    A bit is 1 where its coordinate is positive; the first is in the most significant place of the first
    byte. After a dimension that is not a multiple of 8 the last bits are 0 and are counted.
    """

    name: ClassVar[str] = "sign"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "hamming"
    STATE: ClassVar[Mapping[str, Field]] = {}

    def fit(self, sample: Floats) -> State:
        """Nothing to learn: the threshold is 0."""
        check_vectors(sample)
        return {}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, dimension / 8 rounded up) uint8."""
        check_vectors(vectors, _dimension(state))
        codes = np.empty((len(vectors), self.bytes_per_vector(vectors.shape[1])), dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            codes[rows] = np.packbits(self.project(state, vectors[rows]) > 0, axis=1)
        return codes

    def project(self, state: State, vectors: Floats) -> NDArray[np.float64]:
        """(rows, bits) float64: each coordinate minus its threshold, and 0 for the bits that fill the last byte.

        Differences of unequal float64 numbers are never 0, so the signs are exact.
        """
        check_vectors(vectors, _dimension(state))
        dimension = vectors.shape[1]
        projected = np.zeros((len(vectors), 8 * self.bytes_per_vector(dimension)))
        projected[:, :dimension] = vectors
        if state:
            projected[:, :dimension] -= state["threshold"]
        return projected

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_hamming(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return -(-dimension // 8)


@dataclass(frozen=True)
class MeanSignCodec(SignCodec):
    """Signs about the mean of the sample: a bit is 1 where its coordinate is above it, 0 where it is equal.

    Sums of float16 values (below 2^29 in all) are exact in float64, so the mean is the correctly rounded one on
    every machine; other sums are taken in a fixed order.
    """

    variant: ClassVar[str] = "mean"
    STATE: ClassVar[Mapping[str, Field]] = _STATE

    def fit(self, sample: Floats) -> State:
        """`threshold` (dimension,) float64. InvalidInput for an empty or non-finite sample."""
        _check_sample(sample, self.variant)
        total = np.zeros(sample.shape[1])
        for rows in row_blocks(*sample.shape):
            total += sum_rows(sample[rows].T.astype(np.float64))
        return {"threshold": total / len(sample)}


@dataclass(frozen=True)
class MedianSignCodec(SignCodec):
    """Signs about the median of the sample, which of an even number of documents is the mean of the middle two."""

    variant: ClassVar[str] = "median"
    STATE: ClassVar[Mapping[str, Field]] = _STATE

    def fit(self, sample: Floats) -> State:
        """`threshold` (dimension,) float64. InvalidInput for an empty or non-finite sample."""
        _check_sample(sample, self.variant)
        documents, dimension = sample.shape
        threshold = np.empty(dimension)
        for columns in row_blocks(dimension, documents):
            threshold[columns] = np.median(sample[:, columns].astype(np.float64), axis=0)
        return {"threshold": threshold}


OFFERS = (SignCodec, MeanSignCodec, MedianSignCodec)


def _dimension(state: State) -> int | None:
    return len(state["threshold"]) if state else None


def _check_sample(sample: Floats, variant: str) -> None:
    check_vectors(sample)
    if not len(sample):
        raise InvalidInput(f"the {variant} of signs is fitted on no documents: give at least one")
