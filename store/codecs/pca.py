"""Principal components in float32 (Pearson 1901; Jolliffe 2002), scored as `store.codecs.truncate` says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, check_least, search_decoded
from store.codecs.truncate import bytes_of, check_dimension, numbers_of
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.linear import product, rounded
from store.numerics.products import product as matrix_product
from store.numerics.spectral import eigen
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_vectors, row_blocks

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class PCACodec:
    """The first principal components of the sample about its mean (Pearson 1901; Jolliffe 2002).

    dimensions: how many are kept.

    A vector decodes to the mean plus its components in the original space, which is where it is scored.
    """

    dimensions: int

    name: ClassVar[str] = "pca"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    STATE: ClassVar[Mapping[str, Field]] = {
        "mean": Field(("dimension",), "float32", "mean of the sample"),
        "axes": Field(("dimension", "component"), "float32", "principal axes, one a column"),
    }

    def __post_init__(self) -> None:
        check_least(self, dimensions=1)

    def fit(self, sample: Floats) -> State:
        """`mean` (dimension,) and `axes` (dimension, component), both float32, the latter multiples of 2^-24.

        The axes are orthonormal, those of larger variance first. Raises InvalidInput for fewer dimensions than
        `dimensions` and for a sample of no more documents than `dimensions`.
        """
        check_vectors(sample)
        self.check_shape(*sample.shape)
        mean, axes = principal_axes(sample)
        return {"mean": mean, "axes": rounded(axes[:, : self.dimensions])}

    def check_shape(self, documents: int, dimension: int) -> None:
        """Refuse a sample of a shape that `fit` cannot train on, for the reasons it names."""
        check_dimension(self.dimensions, dimension)
        if documents <= self.dimensions:
            raise InvalidInput(
                f"PCA of {self.dimensions} components is fitted on {documents} documents: "
                "give more documents than components, or keep fewer"
            )

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, 4 × dimensions) uint8: float32 numbers, the least significant byte first."""
        mean, axes = state["mean"], state["axes"]
        check_vectors(vectors, len(mean))
        components = np.empty((len(vectors), self.dimensions), dtype=np.float32)
        centre = product(mean[None], axes)
        for rows in row_blocks(*vectors.shape):
            components[rows] = _clipped(product(vectors[rows], axes) - centre)
        return bytes_of(components)

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: mean + axes · components, computed in float64."""
        mean, axes = state["mean"], state["axes"]
        components = numbers_of(codes, self.dimensions)
        vectors = np.empty((len(codes), len(mean)), dtype=np.float32)
        for rows in row_blocks(*vectors.shape):
            vectors[rows] = _clipped(product(components[rows], axes.T) + mean)
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return 4 * self.dimensions


OFFERS = (PCACodec,)


def principal_axes(sample: Floats) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Mean (dimension,) of the documents and the orthonormal axes (dimension, dimension) of their scatter about it, in
    columns, those of larger variance first; the same on every machine. The axes are read-only."""
    documents, dimension = sample.shape
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    scatter = np.zeros((dimension, dimension))
    for rows in row_blocks(documents, dimension):
        centred = np.subtract(sample[rows], mean, dtype=np.float64)
        scatter += matrix_product(centred.T, centred)
    return mean, _axes(scatter.tobytes())


@lru_cache(maxsize=1)
def _axes(scatter: bytes) -> NDArray[np.float64]:
    """Codecs of several lengths and seeds are fitted on one sample, whose axes take longest to find."""
    dimension = math.isqrt(len(scatter) // 8)
    axes = eigen(np.frombuffer(scatter).reshape(dimension, dimension))[1][:, ::-1]
    axes.flags.writeable = False
    return axes


def _clipped(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
