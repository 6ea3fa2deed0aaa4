"""Iterative quantisation (Gong & Lazebnik 2011): principal components, rotated so that their signs lose the least."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, check_least, search_hamming
from store.codecs.pca import principal_axes
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.linear import product, rounded
from store.numerics.products import on_grid
from store.numerics.products import product as matrix_product
from store.numerics.rotations import nearest_rotation, random_rotation
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_vectors, row_blocks


@dataclass(frozen=True)
class ITQCodec:
    """Packed signs of the rotated principal components, compared by Hamming distance.

    bits: number of components and length of the code, a positive multiple of 8, at most the dimension.
    seed: of the random rotation to start from. iterations: of the alternation between signs and rotation.

    The components are those of the sample about its mean, without further normalisation; multiplied with the
    rotation they become one matrix, and codes follow from the stored one. The training is not Faiss's: of the
    singular vectors U and V its `ITQMatrix` (1.15) forms U V in place of U V', which is no nearest rotation, so
    that its loss may rise from one iteration to the next.
    """

    bits: int
    seed: int
    iterations: int

    name: ClassVar[str] = "itq"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "hamming"
    STATE: ClassVar[Mapping[str, Field]] = {
        "mean": Field(("dimension",), "float32", "mean of the sample"),
        "axes": Field(("dimension", "bit"), "float32", "rotated principal components, one a column"),
    }

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise InvalidInput(f"bits is {self.bits}: give a positive multiple of 8")
        check_least(self, seed=0, iterations=1)

    def fit(self, sample: Floats) -> State:
        """`mean` (dimension,) and `axes` (dimension, bits), both float32, the latter multiples of 2^-24.

        Raises InvalidInput for more bits than dimensions and for a sample of no more documents than bits.
        """
        check_vectors(sample)
        self.check_shape(*sample.shape)
        mean, axes = principal_axes(sample)
        components = axes[:, : self.bits]
        projected = np.empty((len(sample), self.bits))
        for rows in row_blocks(*sample.shape):
            projected[rows] = matrix_product(np.subtract(sample[rows], mean, dtype=np.float64), components)
        rotation = _rotation(projected, self.seed, self.iterations)
        return {"mean": mean, "axes": rounded(matrix_product(components, rotation))}

    def check_shape(self, documents: int, dimension: int) -> None:
        """Refuse a sample of a shape that `fit` cannot train on, for the reasons it names."""
        if self.bits > dimension:
            raise InvalidInput(f"bits is {self.bits}: give at most the dimension {dimension}")
        if documents <= self.bits:
            raise InvalidInput(
                f"ITQ of {self.bits} bits is fitted on {documents} documents: "
                "give more documents than bits, or leave this length out"
            )

    def project(self, state: State, vectors: Floats) -> NDArray[np.float64]:
        """(rows, bits) float64: the coordinates, about the mean, along the axes."""
        mean, axes = state["mean"], state["axes"]
        check_vectors(vectors, len(mean))
        return product(vectors, axes) - product(mean[None], axes)

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, bits / 8) uint8, first bit in the most significant place; a bit is 1 above zero."""
        check_vectors(vectors, len(state["mean"]))
        codes = np.empty((len(vectors), self.bits // 8), dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            codes[rows] = np.packbits(self.project(state, vectors[rows]) > 0, axis=1)
        return codes

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_hamming(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.bits // 8


OFFERS = (ITQCodec,)


def _rotation(projected: NDArray[np.float64], seed: int, iterations: int) -> NDArray[np.float64]:
    """A (bits, bits) rotation R that brings (documents, bits) rows V near the corners of a cube.

    |sign(V R) - V R|^2 is reduced over the signs B and over R in turn; for given signs the best R is the one nearest
    to V'B (orthogonal Procrustes; Schönemann 1966). Only signs and directions enter, neither of which depends on the
    scale of V: rows are scaled to a length below 2 and laid on a grid of 2^-25, on which all products here are exact.
    """
    documents, bits = projected.shape
    longest = float(np.square(projected).sum(axis=1).max())
    rows = on_grid(np.ldexp(projected, -((math.frexp(longest)[1] + 1) // 2) + 1))
    rotation = random_rotation(bits, seed)
    last = np.zeros(rows.shape, np.bool_)
    for iteration in range(iterations):
        signs = np.empty(rows.shape, np.bool_)
        agreement = np.zeros((bits, bits))
        for some in row_blocks(documents, bits):
            signs[some] = rows[some] @ rotation > 0
            agreement += rows[some].T @ np.where(signs[some], 1.0, -1.0)
        if iteration and np.array_equal(signs, last):  # and so in all iterations to come
            break
        last = signs
        rotation = nearest_rotation(agreement, rotation)
    return rotation
