"""Fewer numbers a vector: its first coordinates, or its principal components, each in float32.

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

from store.codecs.base import Scoring, State, search_decoded
from store.codecs.linear import product, rounded
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TruncateCodec:
    """The first `kept` dimensions (Matryoshka style; Kusupati et al. 2022); the others decode to zero."""

    kept: int

    name: ClassVar[str] = "truncate"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "full_dimension": Field((), "int32", "dimension of the vectors before truncation")
    }

    def __post_init__(self) -> None:
        _check_kept(self.kept)

    def fit(self, sample: Floats) -> State:
        """`full_dimension`, int32 without axes. InvalidInput for fewer dimensions than `kept`."""
        check_vectors(sample)
        _check_dimension(self.kept, sample.shape[1])
        return {"full_dimension": np.array(sample.shape[1], dtype=np.int32)}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, 4 × kept) uint8: float32 numbers, the least significant byte first."""
        check_vectors(vectors, int(state["full_dimension"]))
        return _bytes(vectors[:, : self.kept].astype(np.float32))

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32, zero beyond the first `kept` dimensions."""
        vectors = np.zeros((len(codes), int(state["full_dimension"])), dtype=np.float32)
        vectors[:, : self.kept] = _numbers(codes, self.kept)
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return 4 * self.kept


@dataclass(frozen=True)
class PCACodec:
    """The first `kept` principal components of the sample about its mean (Pearson 1901; Jolliffe 2002).

    A vector decodes to the mean plus its components in the original space, which is where it is scored.
    """

    kept: int

    name: ClassVar[str] = "pca"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "mean": Field(("dimension",), "float32", "mean of the sample"),
        "axes": Field(("dimension", "component"), "float32", "principal axes, one a column"),
    }

    def __post_init__(self) -> None:
        _check_kept(self.kept)

    def fit(self, sample: Floats) -> State:
        """`mean` (dimension,) and `axes` (dimension, kept), both float32, the latter multiples of 2^-24.

        The axes are orthonormal, those of larger variance first. Raises InvalidInput for fewer dimensions than
        `kept` and for a sample of no more documents than `kept`. The same sample gives the same axes on one
        machine; another machine may round differently.
        """
        check_vectors(sample)
        documents, dimension = sample.shape
        _check_dimension(self.kept, dimension)
        if documents <= self.kept:
            raise InvalidInput(
                f"PCA of {self.kept} components is fitted on {documents} documents: "
                "give more documents than components, or keep fewer"
            )
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        scatter = np.zeros((dimension, dimension))
        for rows in row_blocks(documents, dimension):
            centred = np.subtract(sample[rows], mean, dtype=np.float64)
            scatter += centred.T @ centred
        _, axes = np.linalg.eigh(scatter)
        return {"mean": mean, "axes": rounded(axes[:, : -self.kept - 1 : -1])}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, 4 × kept) uint8: float32 numbers, the least significant byte first."""
        mean, axes = state["mean"], state["axes"]
        check_vectors(vectors, len(mean))
        components = np.empty((len(vectors), self.kept), dtype=np.float32)
        centre = product(mean[None], axes)
        for rows in row_blocks(*vectors.shape):
            components[rows] = _clipped(product(vectors[rows], axes) - centre)
        return _bytes(components)

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: mean + axes · components, computed in float64."""
        mean, axes = state["mean"], state["axes"]
        components = _numbers(codes, self.kept)
        vectors = np.empty((len(codes), len(mean)), dtype=np.float32)
        for rows in row_blocks(*vectors.shape):
            vectors[rows] = _clipped(product(components[rows], axes.T) + mean)
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return 4 * self.kept


OFFERS = (TruncateCodec, PCACodec)


def _check_kept(kept: int) -> None:
    if kept < 1:
        raise InvalidInput(f"kept is {kept}: give at least 1")


def _check_dimension(kept: int, dimension: int) -> None:
    if kept > dimension:
        raise InvalidInput(f"kept is {kept}: give at most the dimension {dimension}")


def _clipped(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


def _bytes(numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(numbers, dtype="<f4").view(np.uint8)


def _numbers(codes: NDArray[np.uint8], kept: int) -> NDArray[np.float32]:
    check_codes(codes, 4 * kept, np.uint8)
    return np.ascontiguousarray(codes).view("<f4").astype(np.float32)
