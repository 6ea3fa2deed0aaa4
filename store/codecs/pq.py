"""Product quantisation (Jégou, Douze & Schmid 2011): each part of a vector becomes a centroid's index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, check_least, search_decoded
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.k_means import POINTS_PER_CENTROID, k_means
from store.search.adc import ADC_WIDTH, CENTROIDS, ADCTopK
from store.search.neighbours import TopK
from store.search.summation import float32_error_share, sum_rows
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks
from store.threads import in_threads

_BEYOND_HALF = 65520  # half-way to what would be float16's next value: from here on it rounds to infinity
_LARGEST = 1e37  # above it a float32 product may overflow


@dataclass(frozen=True)
class PQCodec:
    """Product quantisation with one byte for each of `code_bytes` equal parts of the vector.

    code_bytes: number of parts and bytes per vector; must divide the dimension. seed: of the k-means.
    iterations: of the k-means.

    Codebooks are trained on L2 by `store.numerics.k_means` and kept in float16, half the download of float32;
    everything else starts from the kept values. Neither training nor encoding is Faiss's: for parts of 16
    and more dimensions it takes distances from a matrix product whose rounding depends on the processor and on how
    many vectors are encoded together, and so do the codes of vectors about half-way between two centroids. Here
    a part becomes the centroid of least float64 distance, summed in a fixed order, and of equal ones the first: a
    function of the codebooks and of the vector alone, on every machine.
    """

    code_bytes: int
    seed: int
    iterations: int

    name: ClassVar[str] = "pq"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    WELL_TRAINED: ClassVar[int] = POINTS_PER_CENTROID * CENTROIDS
    STATE: ClassVar[Mapping[str, Field]] = {
        "codebooks": Field(
            ("subquantizer", "centroid", "component"),
            "float16",
            "centroids of each sub-quantiser",
            compress=True,
        )
    }

    def __post_init__(self) -> None:
        check_least(self, code_bytes=1, seed=0, iterations=1)

    def fit(self, sample: Floats) -> State:
        """`codebooks` (code_bytes, 256, dimension / code_bytes) float16.

        Raises InvalidInput when the dimension is not a multiple of `code_bytes`, for fewer than 256 documents
        and for centroids too large for float16.
        """
        check_vectors(sample)
        documents, dimension = sample.shape
        self.check_shape(documents, dimension)
        shape = (self.code_bytes, CENTROIDS, dimension // self.code_bytes)
        parts = np.asarray(sample, dtype=np.float32).reshape(documents, self.code_bytes, -1)
        codebooks = np.empty(shape, dtype=np.float32)

        def train(part: int) -> None:
            rows = np.ascontiguousarray(parts[:, part])
            codebooks[part] = k_means(rows, CENTROIDS, self.iterations, self.seed)

        in_threads(train, range(self.code_bytes))
        return {"codebooks": half_precision(codebooks, "PQ's codebooks")}

    def check_shape(self, documents: int, dimension: int) -> None:
        """Refuse a sample of a shape that `fit` cannot train on, for the reasons it names."""
        if dimension % self.code_bytes:
            raise InvalidInput(
                f"code_bytes is {self.code_bytes}: choose a divisor of the dimension {dimension}"
            )
        if documents < CENTROIDS:
            raise InvalidInput(
                f"PQ is fitted on {documents} documents, fewer documents than PQ's {CENTROIDS} centroids: "
                "add documents or leave PQ out"
            )

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, code_bytes) uint8."""
        codebooks = state["codebooks"].astype(np.float32)
        parts, centroids, width = codebooks.shape
        check_vectors(vectors, parts * width)
        codes = np.empty((len(vectors), parts), dtype=np.uint8)
        for rows in row_blocks(len(vectors), max(centroids, parts * width)):
            block = vectors[rows].astype(np.float32)
            for part, codebook in enumerate(codebooks):
                codes[rows, part] = nearest(block[:, part * width : (part + 1) * width], codebook)
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: the centroids side by side."""
        codebooks = state["codebooks"].astype(np.float32)
        parts, centroids, width = codebooks.shape
        check_codes(codes, parts, np.uint8)
        every = codebooks.reshape(parts * centroids, width)
        vectors = np.empty((len(codes), parts * width), dtype=np.float32)
        for rows in row_blocks(len(codes), parts * width):
            which = codes[rows] + centroids * np.arange(parts)
            every.take(which, axis=0, out=vectors[rows].reshape(*which.shape, width), mode="clip")
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        if state["codebooks"].shape[2] >= ADC_WIDTH:
            return ADCTopK(state["codebooks"], queries, k, exclude)
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.code_bytes


OFFERS = (PQCodec,)


def half_precision(centroids: NDArray[np.float32], what: str) -> NDArray[np.float16]:
    """The centroids in float16, to nearest; InvalidInput where one lies beyond float16's range."""
    if not np.abs(centroids).max() < _BEYOND_HALF:
        raise InvalidInput(f"{what} reach beyond float16's largest value 65504: normalise the vectors")
    return centroids.astype(np.float16)


def nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index of the centroid of least Euclidean distance, in float64, to each row; of equal ones the first.

    vectors: (rows, width) float32. centroids: (centroids, width) float32.

    The centroid of least distance has the greatest x c - |c|^2 / 2, which one float32 matrix product gives
    for all. Where its error bound leaves more than one centroid, their distances are computed in float64,
    summed in a fixed order.
    """
    width = vectors.shape[1]
    squares = np.square(centroids, dtype=np.float64).sum(axis=1)
    extended = np.concatenate([vectors, np.ones((len(vectors), 1), dtype=np.float32)], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        constants = (squares / -2).astype(np.float32)
        products = extended @ np.concatenate([centroids, constants[:, None]], axis=1).T

    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    norms = np.sqrt(squares)
    longest = norms.max()
    bounds = _product_error(width, lengths, longest)
    with np.errstate(over="ignore", invalid="ignore"):
        floor = np.nextafter((products.max(axis=1) - 2 * bounds).astype(np.float32), np.float32(-np.inf))
    near = products >= floor[:, None]
    overflown = (lengths + longest) * longest > _LARGEST
    near[overflown] = True

    codes: NDArray[np.intp] = near.argmax(axis=1)
    doubtful = np.flatnonzero(np.count_nonzero(near, axis=1) > 1)
    for some in row_blocks(len(doubtful), near.shape[1] * width):
        rows = doubtful[some]
        # One long centroid widens the bound of a short vector so far that all short centroids seem near: each its own.
        with np.errstate(over="ignore", invalid="ignore"):
            each = _product_error(width, lengths[rows, None], norms)
            possible = products[rows] + each >= (products[rows] - each).max(axis=1, keepdims=True)
        row, candidate = np.nonzero(near[rows] & (possible | overflown[rows, None]))
        difference = vectors[rows[row]].astype(np.float64) - centroids[candidate]
        distances = np.full(possible.shape, np.inf)
        distances[row, candidate] = sum_rows(np.square(difference, out=difference))
        codes[rows] = distances.argmin(axis=1)
    return codes


def _product_error(
    width: int, lengths: NDArray[np.float64], norms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Most that the float32 products of `nearest` are off, for vectors and centroids of these Euclidean lengths.

    Roundings: one a term, that of |c|^2 / 2 to float32, and those of the bound itself. The second summand covers the
    float64 distances that decide in the end, the last one products that underflow.
    """
    error = float32_error_share(width + 4) * norms * (lengths + norms / 2)
    error += 2.0**-48 * (lengths + norms) ** 2 + (width + 1) * 2.0**-125
    return error
