"""The sides that ``benchmarks.search`` compares: the lake's search and encoding, and its peers, on the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import bitbudget
import faiss
import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind
from usearch.index import search as usearch_search

from benchmarks._vectors import BLOCK, Vectors, drawn, fed, stored
from pipeline.cells.encode import PART_ROWS
from store.codecs import phase1
from store.codecs.base import Codec, State, search_hamming
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.codecs.sign import SignCodec
from store.search.hamming import HammingTopK
from store.search.inner_product import InnerProductTopK
from store.threads import rows_in_threads

FEW, K = 100, 100
BITS = (64, 128, 256, 512)
FITTED, ITERATIONS = 65_536, 25
LAKE, FLAT, FAISS_PQ = "lake", "Faiss, flat", "Faiss, PQ"
HEAP, HEAP_AGAIN = "Faiss, heap, all", "Faiss, heap, all, again"

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Data:
    """What everything is measured on: float16 as the lake stores it, and float32 as peers take it."""

    documents: Vectors
    queries: Vectors
    documents32: NDArray[np.float32]
    queries32: NDArray[np.float32]

    @classmethod
    def drawn(cls, documents: int, queries: int) -> Data:
        """Mixtures of stored embeddings, the queries from another seed."""
        base = stored()
        one, other = drawn(base, documents, 0), drawn(base, queries, 1)
        return cls(one, other, one.astype(np.float32), other.astype(np.float32))

    def few(self) -> Data:
        """The same documents and fewer queries."""
        return Data(self.documents, self.queries[:FEW], self.documents32, self.queries32[:FEW])


@dataclass(frozen=True)
class Work:
    """Sides that do the same work; ``agree`` raises `SystemExit` where one found something else."""

    sides: Mapping[str, Callable[[], Any]]
    agree: Callable[[Mapping[str, Any]], None]


def same_scores(tolerance: float) -> Callable[[Mapping[str, Any]], None]:
    """The scores of every side, best first, are those of the lake within a tolerance; its rows may differ in ties."""

    def agree(found: Mapping[str, Any]) -> None:
        ours = found[LAKE].scores.astype(np.float64)
        for name, theirs in found.items():
            if name != LAKE and theirs is not None:
                difference = float(np.abs(np.sort(ours, axis=1) - np.sort(theirs, axis=1)).max())
                if difference > tolerance:
                    raise SystemExit(f"{name}: scores differ from the lake's by {difference:g}")

    return agree


def binarize(data: Data) -> Work:
    """Phase-1 codes of the longest length, against one matrix product of the same shape."""
    matrix = np.random.RandomState(0).standard_normal((max(BITS), data.documents.shape[1])).astype(np.float32)
    product = np.empty((len(data.documents), max(BITS)), np.float32)

    def agree(found: Mapping[str, Any]) -> None:
        rows = np.random.RandomState(0).randint(0, len(data.documents), 500)
        exact = data.documents[rows].astype(np.longdouble) @ np.random.RandomState(0).standard_normal(
            (max(BITS), data.documents.shape[1])
        ).T.astype(np.longdouble)
        if not np.array_equal(np.packbits(exact > 0, axis=1), found[LAKE][rows]):
            raise SystemExit("phase1: codes are not the signs of the exact projections")

    return Work(
        {
            "SGEMM": lambda: np.matmul(data.documents32, matrix.T, out=product),
            LAKE: lambda: rows_in_threads(
                lambda rows: phase1.encode(rows, max(BITS), 0), data.documents, PART_ROWS
            ),
        },
        agree,
    )


def hamming(data: Data, bits: int) -> Work:
    """Hamming search; Faiss with each of its two methods and two sizes of a batch of queries.

    Faiss is called as its flat index calls itself, on the codes where they are: an index keeps a copy, and of two
    copies one is searched up to an eighth faster than the other, depending on their place in memory. One of its
    searches takes its turn twice: the difference is the machine's noise.
    """
    codes, queries = (phase1.encode(vectors, bits, 0) for vectors in (data.documents, data.queries))

    def peer(method: str, batch: int) -> Callable[[], Any]:
        parts = [queries[at : at + batch] for at in range(0, len(queries), batch)]
        return lambda: np.concatenate([faiss.knn_hamming(part, codes, K, method)[0] for part in parts])

    sides = {
        "Faiss, heap, 32": peer("hc", 32),
        HEAP: peer("hc", len(queries)),
        "Faiss, counting, 32": peer("mc", 32),
        HEAP_AGAIN: peer("hc", len(queries)),
        LAKE: lambda: fed(HammingTopK(queries, K), codes),
    }
    return Work(sides, same_scores(0))


def hamming_usearch(data: Data, bits: int) -> Work:
    """Hamming search against usearch."""
    codes, queries = (phase1.encode(vectors, bits, 0) for vectors in (data.documents, data.queries))
    threads = faiss.omp_get_max_threads()
    sides = {
        "usearch": lambda: np.asarray(
            usearch_search(codes, queries, K, MetricKind.Hamming, exact=True, threads=threads).distances
        ),
        LAKE: lambda: fed(HammingTopK(queries, K), codes),
    }
    return Work(sides, same_scores(0))


def hamming_bitbudget(data: Data) -> Work:
    """Signs of the vectors themselves: BitBudget's `binary`, which returns all scores and ranks none."""
    codec = SignCodec()
    state = codec.fit(data.documents[:FITTED])
    codes = codec.encode(state, data.documents)
    method = bitbudget.METHODS["binary"]
    # A coordinate of exactly 0 has bit 0 here and no sign there: it gets a negative one.
    documents, queries = (
        np.where(vectors == 0, np.float32(-1e-9), vectors) for vectors in (data.documents32, data.queries32)
    )

    def agree(found: Mapping[str, Any]) -> None:
        # An inner product of signs is the number of bits less twice the Hamming distance.
        best = np.partition(found["BitBudget"][0], -K, axis=1)[:, -K:]
        distances = np.sort((data.documents.shape[1] - best) / 2, axis=1)
        if not np.array_equal(distances, found[LAKE].scores):
            raise SystemExit("BitBudget: ranks other documents than the lake")

    return Work(
        {
            "BitBudget": lambda: method(documents, queries),
            LAKE: lambda: fed(search_hamming(codec, state, data.queries, K), codes),
        },
        agree,
    )


def inner_products(data: Data) -> Work:
    """Exact float search and search of INT8 codes, against Faiss's exact search and the matrix product alone."""
    flat = faiss.IndexFlatIP(data.documents.shape[1])
    flat.add(data.documents32)
    codec = Int8Codec()
    state = codec.fit(data.documents[:FITTED])
    codes = codec.encode(state, data.documents)
    buffer = np.empty((4096, len(data.queries)), np.float32)

    def sgemm() -> None:
        for first in range(0, len(data.documents), len(buffer)):
            block = data.documents32[first : first + len(buffer)]
            np.matmul(block, data.queries32.T, out=buffer[: len(block)])

    def agree(found: Mapping[str, Any]) -> None:
        same_scores(1e-5)({name: found[name] for name in (FLAT, LAKE)})
        decoded = codec.decode(state, codes[:BLOCK]) @ data.queries32[:FEW].T
        known = fed(codec.search(state, data.queries[:FEW], K), codes[:BLOCK])
        if np.abs(np.sort(decoded, axis=0)[: -K - 1 : -1].T - known.scores).max() > 1e-5:
            raise SystemExit("int8: scores differ from those of the decoded vectors")

    return Work(
        {
            "SGEMM": sgemm,
            FLAT: lambda: flat.search(data.queries32, K)[0],
            LAKE: lambda: fed(InnerProductTopK(data.queries, K), data.documents),
            "lake, int8": lambda: fed(codec.search(state, data.queries, K), codes),
        },
        agree,
    )


def int8_faiss(data: Data) -> Work:
    """INT8 codes against Faiss's scalar quantiser on the same grid, which it searches query by query."""
    index = faiss.IndexScalarQuantizer(
        data.documents.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(data.documents32[:FITTED])
    index.add(data.documents32)
    codec = Int8Codec()
    state = codec.fit(data.documents[:FITTED])
    codes = codec.encode(state, data.documents)
    sides = {
        "Faiss, scalar": lambda: index.search(data.queries32, K)[0],
        LAKE: lambda: fed(codec.search(state, data.queries, K), codes),
    }
    return Work(sides, same_scores(0.01))  # their levels are a half step apart


def product_codes(data: Data, code_bytes: int) -> Work:
    """Search of PQ codes against Faiss, given the same codebooks and codes."""
    codec = PQCodec(code_bytes, seed=0, iterations=4)
    state = codec.fit(data.documents[:FITTED])
    codes = codec.encode(state, data.documents)
    index = faiss.IndexPQ(data.documents.shape[1], code_bytes, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(state["codebooks"].astype(np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    index.add_sa_codes(codes)
    sides = {
        FAISS_PQ: lambda: index.search(data.queries32, K)[0],
        LAKE: lambda: fed(codec.search(state, data.queries, K), codes),
    }
    return Work(sides, same_scores(1e-5))


def product_fitting(data: Data, code_bytes: int) -> Work:
    """Fitting PQ against Faiss; the mean squared error of the sample with the codebooks is to be Faiss's."""
    codec = PQCodec(code_bytes, seed=0, iterations=ITERATIONS)
    sample = data.documents32[:FITTED]

    def theirs() -> NDArray[np.float32]:
        quantizer = faiss.ProductQuantizer(sample.shape[1], code_bytes, 8)
        quantizer.cp.seed, quantizer.cp.niter = codec.seed, ITERATIONS
        quantizer.cp.max_points_per_centroid = FITTED
        quantizer.train(sample)
        return np.asarray(faiss.vector_to_array(quantizer.centroids), np.float32)

    def error(codebooks: NDArray[Any]) -> float:
        state = {"codebooks": codebooks.astype(np.float16).reshape(code_bytes, 256, -1)}
        decoded = codec.decode(state, encoded(codec, state, data.documents[:FITTED]))
        return float(np.square(decoded - sample).sum(axis=1, dtype=np.float64).mean())

    def agree(found: Mapping[str, Any]) -> None:
        ratio = error(found[LAKE]) / error(found[FAISS_PQ])
        if ratio > 1.02:
            raise SystemExit(f"PQ: the error of the sample is {ratio:.4f} times that of Faiss's codebooks")

    return Work({FAISS_PQ: theirs, LAKE: lambda: codec.fit(data.documents[:FITTED])["codebooks"]}, agree)


def product_encoding(data: Data, code_bytes: int) -> Work:
    """Encoding every document with the same codebooks, against Faiss."""
    codec = PQCodec(code_bytes, seed=0, iterations=ITERATIONS)
    state = codec.fit(data.documents[:FITTED])
    quantizer = faiss.ProductQuantizer(data.documents.shape[1], code_bytes, 8)
    faiss.copy_array_to_vector(state["codebooks"].astype(np.float32).ravel(), quantizer.centroids)

    def theirs() -> Codes:
        return np.asarray(quantizer.compute_codes(data.documents32))

    def agree(found: Mapping[str, Any]) -> None:
        share = float((found[LAKE] == found[FAISS_PQ]).mean())
        if share < 0.9999:
            raise SystemExit(f"PQ: only {share:.5f} of the codes are Faiss's")

    return Work({FAISS_PQ: theirs, LAKE: lambda: encoded(codec, state, data.documents)}, agree)


def encoded(codec: Codec, state: State, vectors: Vectors) -> Codes:
    """Codes of all vectors, a block at a time as the stages encode them."""
    return np.concatenate(
        [codec.encode(state, vectors[first : first + BLOCK]) for first in range(0, len(vectors), BLOCK)]
    )
