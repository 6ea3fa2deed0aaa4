"""Exact search: the declared order holds for any blocks, near-ties, repetitions and exclusions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search import best, runs
from store.search import hamming as hamming_search
from store.search import inner_product as search
from store.search.hamming import HammingTopK, hamming_ties, paired_hamming
from store.search.inner_product import InnerProductTopK
from store.search.neighbours import Neighbours
from tests.counts import count
from tests.oracles.search import exact_score, folded_score, hamming, inner_product_rows, ranked
from tests.paths import ROOT

EXAMPLES = settings(max_examples=count(full=400, quick=60))


def unit(rows: int, dimension: int, seed: int, dtype: Any = np.float16) -> NDArray[Any]:
    drawn = np.random.RandomState(seed).standard_normal((rows, dimension))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=dtype)


def cuts(n: int, size: int) -> list[tuple[int, int]]:
    return [(at, min(at + size, n)) for at in range(0, n, size)]


def top_k(
    queries: NDArray[Any],
    documents: NDArray[Any],
    k: int,
    exclude: NDArray[np.int64] | None = None,
    blocks: Sequence[tuple[int, int]] | None = None,
) -> Neighbours:
    kind: Any = HammingTopK if documents.dtype == np.uint8 else InnerProductTopK
    kernel = kind(queries, k, exclude)
    for start, stop in blocks or [(0, len(documents))]:
        kernel.update(documents[start:stop], start)
    found: Neighbours = kernel.result()
    return found


def identical(a: Neighbours, b: Neighbours) -> bool:
    return a.rows.tobytes() == b.rows.tobytes() and a.scores.tobytes() == b.scores.tobytes()


COARSE = st.sampled_from([0.0, -0.0, 0.25, -0.25, 0.5, float(np.nextafter(np.float16(0.5), np.float16(1)))])


@EXAMPLES
@given(st.data(), st.integers(1, 6), st.integers(1, 24), st.integers(1, 5))
def test_float16_neighbours_are_exact(data: st.DataObject, dimension: int, n: int, queries: int) -> None:
    # The few values make many equal rows and many equal scores; -0.0 must count as 0.0.
    documents = data.draw(arrays(np.float16, (n, dimension), elements=COARSE))
    query = data.draw(arrays(np.float16, (queries, dimension), elements=COARSE))
    exclude = data.draw(arrays(np.int64, queries, elements=st.integers(-1, n - 1)))
    k = data.draw(st.integers(1, max(1, n - 1)))
    if n == 1:
        exclude[:] = -1
    size = data.draw(st.integers(1, n))
    blocks = data.draw(st.permutations(cuts(n, size)))

    found = top_k(query, documents, k, exclude, blocks)
    expected = inner_product_rows(query, documents, k, exclude)
    assert found.rows.tolist() == expected.tolist()
    for q, row in np.ndindex(expected.shape):
        assert float(found.scores[q, row]) == exact_score(query[q], documents[expected[q, row]])
    assert not np.signbit(found.scores[found.scores == 0]).any()
    assert identical(found, top_k(query, documents, k, exclude))


@EXAMPLES
@given(st.data(), st.integers(1, 5), st.integers(2, 16))
def test_float32_neighbours_follow_the_declared_score(data: st.DataObject, dimension: int, n: int) -> None:
    elements = st.floats(-1e6, 1e6, width=32)
    documents = data.draw(arrays(np.float32, (n, dimension), elements=elements))
    query = data.draw(arrays(np.float32, (3, dimension), elements=elements))
    found = top_k(query, documents, n - 1, blocks=cuts(n, data.draw(st.integers(1, n))))
    for q in range(3):
        scores = [folded_score(query[q], document) for document in documents]
        assert found.rows[q].tolist() == ranked(scores, n - 1)
        assert found.scores[q].tolist() == [scores[row] for row in found.rows[q]]


def one_ulp_family(dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Documents that differ from one another by one unit in the last place of one coordinate."""
    queries, base = unit(20, 384, 1, dtype), unit(1, 384, 2, dtype)
    documents = np.repeat(base, 384, axis=0)
    diagonal = np.arange(384)
    documents[diagonal, diagonal] = np.nextafter(base[0], dtype(np.inf))
    return queries, documents


def test_near_ties_that_float32_orders_wrongly_are_ordered_rightly() -> None:
    queries, documents = one_ulp_family(np.float16)
    small = queries.copy()
    small[:, 5:] *= np.float16(2.0**-9)  # differences far below the resolution of float32
    small, documents = small[:4], documents[:40]
    found = top_k(small, documents, 20)
    assert found.rows.tolist() == inner_product_rows(small, documents, 20).tolist()
    float32 = small.astype(np.float32) @ documents.astype(np.float32).T
    wrong = np.argsort(-float32, axis=1, kind="stable")[:, :20]
    assert (wrong != found.rows).any(axis=1).all()


def test_near_ties_in_float32_follow_the_declared_score() -> None:
    queries, documents = one_ulp_family(np.float32)
    queries = queries[:8]
    found = top_k(queries, documents, 50, blocks=cuts(384, 100))
    for q, query in enumerate(queries):
        assert found.rows[q].tolist() == ranked([folded_score(query, document) for document in documents], 50)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_blocks_and_tiles_do_not_matter(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = unit(70, 48, 3, dtype), unit(3000, 48, 4, dtype)
    documents[1500:1800] = documents[100:400]
    exclude = np.arange(70) * 40 - 1
    reference = top_k(queries, documents, 20, exclude)
    scores = documents.astype(np.float64) @ queries.T.astype(np.float64)
    scores[exclude[1:], np.arange(1, 70)] = -np.inf
    kth = np.sort(scores, axis=0)[-20]
    assert np.abs(reference.scores[:, -1] - kth).max() < 1e-12
    for size in (7, 999, 2999):
        assert identical(reference, top_k(queries, documents, 20, exclude, cuts(3000, size)[::-1]))
    monkeypatch.setattr(search, "_DOCUMENTS", 64)
    monkeypatch.setattr(search, "_QUERIES", 9)
    monkeypatch.setattr(search, "_ELEMENTS", 48 * 200)
    monkeypatch.setattr(search, "_RESCORED", 100)
    assert identical(reference, top_k(queries, documents, 20, exclude, cuts(3000, 1000)))


def test_documents_that_keep_getting_better_are_all_seen() -> None:
    # Ascending scores are the worst case of a running threshold.
    documents = np.zeros((5000, 2), dtype=np.float32)
    documents[:, 0] = np.arange(5000)
    found = top_k(np.array([[1, 0], [-1, 0]], dtype=np.float32), documents, 3, blocks=cuts(5000, 100))
    assert found.rows.tolist() == [[4999, 4998, 4997], [0, 1, 2]]
    assert found.scores.tolist() == [[4999, 4998, 4997], [0, -1, -2]]


def test_tiny_and_large_vectors_are_ordered_too() -> None:
    scale = np.array([[1e-30], [1e-40], [1e18], [1.0], [3e-30]], dtype=np.float32)
    found = top_k(np.array([[1e-20, 0]], np.float32), np.hstack([scale, -scale]) / np.float32(1.5), 5)
    assert found.rows.tolist() == [[2, 3, 4, 0, 1]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_neighbours_agree_with_faiss_up_to_ties(dtype: Any) -> None:
    queries, documents = unit(50, 96, 5, dtype), unit(4000, 96, 6, dtype)
    documents[2000:2400] = documents[:400]
    index = faiss.IndexFlatIP(96)
    index.add(documents.astype(np.float32))
    scores, rows = index.search(queries.astype(np.float32), 100)
    found = top_k(queries, documents, 100)
    assert np.abs(found.scores - scores).max() < 1e-6
    for ours, theirs, score in zip(found.rows, rows, found.scores, strict=True):
        clear = score > score[-1] + 1e-6
        assert set(ours[clear]) <= set(theirs)
        repeated = np.flatnonzero(np.diff(score) == 0)
        assert (ours[repeated] < ours[repeated + 1]).all()


def test_working_memory_is_bounded_even_where_all_documents_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_DOCUMENTS", 512)
    monkeypatch.setattr(search, "_ELEMENTS", 8 << 12)
    monkeypatch.setattr(best, "_WAITING", 1 << 12)
    queries, documents = unit(40, 8, 7), np.repeat(unit(1, 8, 8), 80_000, axis=0)
    peaks = []
    for n in (40_000, 80_000):
        kernel = InnerProductTopK(queries, 10)
        tracemalloc.start()
        kernel.update(documents[:n], 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (kernel.result().rows == np.arange(10)).all()
    assert max(peaks) < 5.5e6  # all scores of 80,000 documents would be 13 MB
    assert peaks[1] < 1.05 * peaks[0]


DIGESTS = """
import hashlib, json
import numpy as np
from store.codecs.pq import PQCodec
from store.codecs.int8 import Int8Codec
from store.search.inner_product import InnerProductTopK

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

draw = np.random.RandomState(0)
vectors = draw.standard_normal((3000, 96)).astype(np.float16) / np.float16(10)
codebooks = vectors[:256].reshape(256, 4, 24).transpose(1, 0, 2).astype(np.float32)
codec = PQCodec(4, seed=0, iterations=1)
codes = codec.encode({"codebooks": codebooks}, vectors)
levels = Int8Codec().encode(Int8Codec().fit(vectors), vectors)
digests = [digest(codes), digest(levels)]
for documents in (vectors, codec.decode({"codebooks": codebooks}, codes)):
    kernel = InnerProductTopK(vectors[:100], 50)
    kernel.update(documents, 0)
    digests.append(digest(kernel.result().rows, kernel.result().scores))
wide = vectors.astype(np.float32)
print(json.dumps([digests, digest(wide[:100] @ wide.T)]))
"""


def test_codes_and_neighbours_do_not_depend_on_the_machine() -> None:
    dispatched = " ".join(vars(np)["_core"]._multiarray_umath.__cpu_dispatch__)
    machines = {
        "two threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
        "Haswell": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"},
        "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        "Prescott, no SIMD": {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": dispatched},
    }
    digests, products = [], set()
    for name, extra in machines.items():
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **extra}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        results, product = json.loads(done.stdout)
        digests.append(results)
        products.add(product)
    assert all(results == digests[0] for results in digests)
    if platform.machine() == "x86_64":
        assert len(products) > 1  # the settings did change how matrix products are rounded


class TestHamming:
    @EXAMPLES
    @given(st.data(), st.sampled_from([1, 3, 8]), st.integers(2, 40))
    def test_neighbours_and_ties_are_exact(self, data: st.DataObject, width: int, n: int) -> None:
        byte = st.sampled_from([0, 1, 3, 255])
        codes = data.draw(arrays(np.uint8, (n, width), elements=byte))
        queries = data.draw(arrays(np.uint8, (4, width), elements=byte))
        exclude = data.draw(arrays(np.int64, 4, elements=st.integers(-1, n - 1)))
        k = data.draw(st.integers(1, n - 1))
        blocks = data.draw(st.permutations(cuts(n, data.draw(st.integers(1, n)))))
        distances = hamming(queries, codes)

        found = top_k(queries, codes, k, exclude, blocks)
        for q in range(4):
            assert found.rows[q].tolist() == ranked(list(-distances[q]), k, int(exclude[q]))
            assert found.scores[q].tolist() == distances[q, found.rows[q]].tolist()

        ranks = np.array(sorted({0, k // 2, k - 1}))
        kth = np.asarray(found.scores[:, ranks], dtype=np.int32)
        closer, tied = hamming_ties(queries, [(a, codes[a:b]) for a, b in blocks], kth, exclude)
        assert closer.dtype == tied.dtype == np.int32
        for q, j in np.ndindex(kth.shape):
            others = np.delete(distances[q], exclude[q]) if exclude[q] >= 0 else distances[q]
            assert closer[q, j] == (others < kth[q, j]).sum()
            assert tied[q, j] == (others == kth[q, j]).sum()
            assert closer[q, j] <= ranks[j] < closer[q, j] + tied[q, j]

    def test_tiles_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        draw = np.random.RandomState(0)
        codes, queries = (draw.randint(0, 256, (n, 4)).astype(np.uint8) for n in (3000, 50))
        reference = top_k(queries, codes, 30)
        kth = np.asarray(reference.scores[:, [0, 9, 29]], dtype=np.int32)
        ties = hamming_ties(queries, [(0, codes)], kth)
        distances = hamming(queries, codes)
        assert ties[1].tolist() == (distances[:, :, None] == kth[:, None, :]).sum(axis=1).tolist()
        for name, value in (("_QUERIES", 7), ("_CODES", 70), ("_BYTES", 4 * 90)):
            monkeypatch.setattr(hamming_search, name, value)
        monkeypatch.setattr(runs, "RUN_BYTES", 4 * 700)
        options: Any = faiss.cvar
        usual = options.hamming_batch_size
        assert identical(reference, top_k(queries, codes, 30, blocks=cuts(3000, 500)))
        assert options.hamming_batch_size == usual
        again = hamming_ties(queries, [(a, codes[a:b]) for a, b in cuts(3000, 333)], kth)
        assert again[0].tolist() == ties[0].tolist()
        assert again[1].tolist() == ties[1].tolist()

    def test_any_distance_may_be_counted(self) -> None:
        codes = np.array([[0], [1], [3], [255]], dtype=np.uint8)
        distances = np.array([[0, 8, 1, 5]], dtype=np.int32)
        closer, tied = hamming_ties(codes[:1], [(0, codes[:2]), (2, codes[2:])], distances)
        assert closer.tolist() == [[0, 3, 1, 3]]
        assert tied.tolist() == [[1, 1, 1, 0]]

    def test_bad_distances_are_refused(self) -> None:
        codes = np.zeros((2, 1), dtype=np.uint8)
        for bad in (-1, 9):
            with pytest.raises(InvalidInput, match=r"beyond 0 … 8: give distances between codes of 8 bits"):
                hamming_ties(codes, [(0, codes)], np.array([[bad], [0]], dtype=np.int32))
        with pytest.raises(InvalidInput, match=r"shape \(1, 1\): give one row for each of the 2 queries"):
            hamming_ties(codes, [(0, codes)], np.zeros((1, 1), dtype=np.int32))


CODES = np.zeros((4, 2), dtype=np.uint8)
VECTORS = unit(4, 3, 9)


class TestBadInput:
    @pytest.mark.parametrize("documents", [CODES, VECTORS])
    def test_fewer_documents_than_k(self, documents: NDArray[Any]) -> None:
        assert top_k(documents, documents, 4).rows.shape == (4, 4)
        with pytest.raises(InvalidInput, match="k is 5 but some query has fewer documents to search"):
            top_k(documents, documents, 5)
        with pytest.raises(InvalidInput, match="k is 4 but some query has fewer documents to search"):
            top_k(documents, documents, 4, exclude=np.array([-1, -1, 2, -1]))

    @pytest.mark.parametrize("documents", [CODES, VECTORS])
    def test_no_neighbours_no_queries_and_misshapen_exclusions(self, documents: NDArray[Any]) -> None:
        with pytest.raises(InvalidInput, match="k is 0: ask for at least 1"):
            top_k(documents, documents, 0)
        with pytest.raises(InvalidInput, match="queries are empty"):
            top_k(documents[:0], documents, 1)
        with pytest.raises(
            InvalidInput, match=r"exclude has shape \(3,\): give one row .* each of 4 queries"
        ):
            top_k(documents, documents, 1, exclude=np.zeros(3, dtype=np.int64))

    def test_widths_that_do_not_match(self) -> None:
        with pytest.raises(InvalidInput, match="documents have dimension 2 and the queries 3"):
            top_k(VECTORS, VECTORS[:, :2], 1)
        with pytest.raises(InvalidInput, match="document codes have 1 bytes and query codes 2"):
            top_k(CODES, CODES[:, :1], 1)

    def test_other_dtypes(self) -> None:
        with pytest.raises(InvalidInput, match=r"queries have shape .* and dtype float64"):
            InnerProductTopK(VECTORS.astype(np.float64), 1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"query codes have shape .* and dtype int64"):
            HammingTopK(CODES.astype(np.int64), 1)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 1e25])
    def test_rows_without_a_usable_length(self, bad: float) -> None:
        spoilt = VECTORS.astype(np.float32)
        spoilt[2, 1] = bad
        with pytest.raises(InvalidInput, match="queries row 2 is not finite or longer than 1e\\+18"):
            top_k(spoilt, VECTORS, 1)
        kernel = InnerProductTopK(VECTORS, 1)
        with pytest.raises(InvalidInput, match="documents row 102 is not finite or longer than 1e\\+18"):
            kernel.update(spoilt, 100)


@pytest.mark.parametrize("step", [1, 7, 50])
def test_paired_distances_are_those_of_the_unpacked_bits(step: int) -> None:
    random = np.random.RandomState(0)
    documents = random.randint(0, 256, (50, 5)).astype(np.uint8)
    queries = random.randint(0, 256, (80, 5)).astype(np.uint8)
    rows = random.randint(0, 50, 80).astype(np.int32)
    blocks = [(at, documents[at : at + step]) for at in range(0, 50, step)]
    expected = (np.unpackbits(queries, axis=1) != np.unpackbits(documents[rows], axis=1)).sum(axis=1)
    np.testing.assert_array_equal(paired_hamming(queries, blocks, rows), expected)


def test_a_pair_whose_document_is_nowhere_is_refused() -> None:
    codes = np.zeros((3, 2), dtype=np.uint8)
    with pytest.raises(InvalidInput, match="document row 3 is in no block"):
        paired_hamming(codes, [(0, codes)], np.array([0, 3, 1], np.int32))
