"""Optimised product quantisation (Ge, He, Ke & Sun 2013): PQ after a learned rotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State
from store.codecs.pq import PQCodec, nearest
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.k_means import k_means
from store.numerics.linear import product, rounded
from store.numerics.products import product as matrix_product
from store.numerics.rotations import nearest_rotation, random_rotation
from store.search.adc import CENTROIDS
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_vectors, row_blocks
from store.threads import in_threads

_FIRST_ITERATIONS, _LATER_ITERATIONS = 40, 4
_LARGEST = float(np.finfo(np.float32).max)  # a longer coordinate may come out of a rotation; it is clipped


@dataclass(frozen=True)
class OPQCodec:
    """Product quantisation of rotated vectors, one byte for each of `code_bytes` equal parts.

    code_bytes: number of parts and bytes per vector; must divide the dimension. seed: of the rotation to start
    from and of every k-means. iterations: of the alternation between rotation and codebooks (Faiss's own default
    is 50), and of the k-means that trains the codebooks which are kept.

    The rotation is trained on L2 by the paper's non-parametric solution, with as many iterations of k-means as Faiss:
    40 at first, then 4 that start from the previous centroids. Codebooks and codes are then those of `PQCodec`
    for the rotated vectors, in float32; decoding rotates back.
    """

    code_bytes: int
    seed: int
    iterations: int

    name: ClassVar[str] = "opq"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    WELL_TRAINED: ClassVar[int] = PQCodec.WELL_TRAINED
    STATE: ClassVar[Mapping[str, Field]] = {
        **PQCodec.STATE,
        "rotation": Field(("dimension", "rotated"), "float32", "what vectors are multiplied by before PQ"),
    }

    def __post_init__(self) -> None:
        self._quantizer()

    def fit(self, sample: Floats) -> State:
        """`rotation` (dimension, dimension) float32, multiples of 2^-24, and `codebooks` as PQ's.

        Raises InvalidInput as PQ does, and for fewer documents than dimensions: they do not determine a rotation.
        """
        check_vectors(sample)
        self.check_shape(*sample.shape)
        rotation = rounded(_rotation(sample, self.code_bytes, self.seed, self.iterations))
        return {**self._quantizer().fit(_rotated(sample, rotation)), "rotation": rotation}

    def check_shape(self, documents: int, dimension: int) -> None:
        """Refuse a sample of a shape that `fit` cannot train on, for the reasons it names."""
        if dimension % self.code_bytes:
            raise InvalidInput(
                f"code_bytes is {self.code_bytes}: choose a divisor of the dimension {dimension}"
            )
        if documents < CENTROIDS:
            raise InvalidInput(
                f"OPQ is fitted on {documents} documents, fewer documents than OPQ's {CENTROIDS} centroids: "
                "add documents or leave OPQ out"
            )
        if documents < dimension:
            raise InvalidInput(
                f"OPQ is fitted on {documents} documents, fewer documents than the {dimension} dimensions: "
                "add documents or leave OPQ out"
            )

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, code_bytes) uint8."""
        rotation = state["rotation"]
        check_vectors(vectors, len(rotation))
        codes = np.empty((len(vectors), len(state["codebooks"])), dtype=np.uint8)
        for rows in row_blocks(*vectors.shape):
            codes[rows] = self._quantizer().encode(state, _rotated(vectors[rows], rotation))
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: the centroids side by side, rotated back."""
        return _rotated(self._quantizer().decode(state, codes), state["rotation"].T)

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        """Search by inner product. The queries are rotated, once, in place of every document."""
        check_vectors(queries, len(state["rotation"]))
        return self._quantizer().search(state, _rotated(queries, state["rotation"]), k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.code_bytes

    def _quantizer(self) -> PQCodec:
        return PQCodec(self.code_bytes, self.seed, self.iterations)


OFFERS = (OPQCodec,)


def _rotated(vectors: Floats, rotation: NDArray[np.float32]) -> NDArray[np.float32]:
    rotated = np.empty(vectors.shape, dtype=np.float32)
    for rows in row_blocks(*vectors.shape):
        rotated[rows] = np.clip(product(vectors[rows], rotation), -_LARGEST, _LARGEST)
    return rotated


def _rotation(sample: Floats, code_bytes: int, seed: int, iterations: int) -> NDArray[np.float64]:
    """A rotation R of the documents X that reduces |X R - Y|^2, over the codebooks behind the quantised Y and over R in
    turn; for given Y the best R is the one nearest to X'Y (orthogonal Procrustes; Schönemann 1966)."""
    documents, dimension = sample.shape
    rotation = random_rotation(dimension, seed)
    codebooks: NDArray[np.float32] | None = None
    for _ in range(iterations):
        rotated = _rotated(sample, rounded(rotation))
        codebooks, quantised = _quantised(rotated, code_bytes, seed, codebooks)
        agreement = np.zeros((dimension, dimension))
        for rows in row_blocks(documents, dimension):
            agreement += matrix_product(sample[rows].T.astype(np.float64), quantised[rows].astype(np.float64))
        rotation = nearest_rotation(agreement, rotation)
    return rotation


def _quantised(
    rotated: NDArray[np.float32], code_bytes: int, seed: int, before: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Codebooks (code_bytes, 256, width) float32, and the documents with each part in its centroid's place."""
    parts = rotated.reshape(len(rotated), code_bytes, -1)
    quantised = np.empty_like(parts)
    codebooks = np.empty((code_bytes, CENTROIDS, parts.shape[2]), dtype=np.float32)

    def train(part: int) -> None:
        rows = np.ascontiguousarray(parts[:, part])
        if before is None:
            codebooks[part] = k_means(rows, CENTROIDS, _FIRST_ITERATIONS, seed)
        else:
            codebooks[part] = k_means(rows, CENTROIDS, _LATER_ITERATIONS, seed, before[part])
        for some in row_blocks(len(rows), CENTROIDS):
            quantised[some, part] = codebooks[part, nearest(rows[some], codebooks[part])]

    in_threads(train, range(code_bytes))
    return codebooks, quantised.reshape(rotated.shape)
