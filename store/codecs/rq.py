"""Residual quantisation (Chen, Guan & Wang 2010): a vector is a sum of centroids, one from each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Scoring, State, check_least, search_decoded
from store.codecs.pq import PQCodec, half_precision, nearest
from store.errors import InvalidInput
from store.leaf.schema import Field
from store.numerics.k_means import k_means
from store.search.adc import CENTROIDS
from store.search.neighbours import TopK
from store.search.vectors import Floats, check_codes, check_vectors, row_blocks


@dataclass(frozen=True)
class RQCodec:
    """Residual quantisation with one byte for each of `code_bytes` stages.

    code_bytes: number of stages and bytes per vector. seed and iterations: of each stage's k-means.

    Encoding is greedy: at each stage the nearest centroid, as `store.codecs.pq.nearest` finds it, to what the
    earlier stages left, in float32. A beam search would lose a little less, at many times the cost; with greedy codes
    the first m bytes of a code are the code of m stages. Centroids are kept in float16, and a
    stage's are those of `store.numerics.k_means` for what encoding the sample with the kept ones before it leaves.
    """

    code_bytes: int
    seed: int
    iterations: int

    name: ClassVar[str] = "rq"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"
    WELL_TRAINED: ClassVar[int] = PQCodec.WELL_TRAINED
    STATE: ClassVar[Mapping[str, Field]] = {
        "codebooks": Field(("stage", "centroid", "dimension"), "float16", "centroids of each stage")
    }

    def __post_init__(self) -> None:
        check_least(self, code_bytes=1, seed=0, iterations=1)

    def fit(self, sample: Floats) -> State:
        """`codebooks` (code_bytes, 256, dimension) float16.

        Raises InvalidInput for fewer than 256 documents and for centroids too large for float16.
        """
        check_vectors(sample)
        documents, dimension = sample.shape
        self.check_shape(documents, dimension)
        left = np.array(sample, dtype=np.float32, order="C")
        codebooks = np.zeros((self.code_bytes, CENTROIDS, dimension), dtype=np.float16)
        for stage, codebook in enumerate(codebooks):
            codebook[:] = half_precision(
                k_means(left, CENTROIDS, self.iterations, self.seed), "RQ's codebooks"
            )
            if not codebook.any():  # nothing is left that float16 holds, for this stage and all after it
                break
            if stage + 1 < self.code_bytes:
                alone = {"codebooks": codebook[np.newaxis]}
                left -= self.decode(alone, self.encode(alone, left))
        return {"codebooks": codebooks}

    def check_shape(self, documents: int, dimension: int) -> None:
        """Refuse a sample of a shape that `fit` cannot train on, for the reason it names."""
        if documents < CENTROIDS:
            raise InvalidInput(
                f"RQ is fitted on {documents} documents, fewer documents than RQ's {CENTROIDS} centroids: "
                "add documents or leave RQ out"
            )

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, code_bytes) uint8."""
        codebooks = state["codebooks"].astype(np.float32)
        stages, centroids, dimension = codebooks.shape
        check_vectors(vectors, dimension)
        codes = np.empty((len(vectors), stages), dtype=np.uint8)
        distinct = [_first_of_equal(codebook) for codebook in codebooks]
        for rows in row_blocks(len(vectors), max(centroids, dimension)):
            left = vectors[rows].astype(np.float32)
            for stage, codebook in enumerate(codebooks):
                codes[rows, stage] = distinct[stage][nearest(left, codebook[distinct[stage]])]
                left -= codebook[codes[rows, stage]]
        return codes

    def decode(self, state: State, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(documents, dimension) float32: the centroids of all stages, added in their order."""
        codebooks = state["codebooks"].astype(np.float32)
        stages, _, dimension = codebooks.shape
        check_codes(codes, stages, np.uint8)
        vectors = np.zeros((len(codes), dimension), dtype=np.float32)
        for rows in row_blocks(*vectors.shape):
            for stage, codebook in enumerate(codebooks):
                vectors[rows] += codebook[codes[rows, stage]]
        return vectors

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        return search_decoded(self, state, queries, k, exclude)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.code_bytes


OFFERS = (RQCodec,)


def _first_of_equal(codebook: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices of the distinct centroids, ascending, each the first of its equals.

    Late stages of a small sample have nothing left to distinguish, and comparing each vector with hundreds of
    equal centroids would be most of the work.
    """
    _, first = np.unique(codebook, axis=0, return_index=True)
    return np.sort(first)
