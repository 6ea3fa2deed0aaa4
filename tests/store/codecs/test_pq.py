"""Product quantisation against its definition and against Faiss."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.codecs import pq as product
from store.codecs.base import Decodable, undertrained
from store.codecs.pq import PQCodec, half_precision, nearest
from store.errors import InvalidInput
from store.numerics.k_means import k_means
from store.search.summation import sum_rows
from tests.oracles.search import exact_score, folded_score
from tests.store.codecs.codec_contract import DecodableContract, same, vectors


def faiss_quantizer(codebooks: NDArray[np.float16]) -> Any:
    parts, _, width = codebooks.shape
    quantizer = faiss.ProductQuantizer(parts * width, parts, 8)
    faiss.copy_array_to_vector(codebooks.astype(np.float32).ravel(), quantizer.centroids)
    return quantizer


def nearest_oracle(rows: NDArray[np.float32], centroids: NDArray[np.float32]) -> list[int]:
    """By exact distance, the first of equal ones."""
    found = []
    for row in rows.astype(np.float64):
        differences = row - centroids.astype(np.float64)
        found.append(min(range(len(centroids)), key=lambda c: exact_score(differences[c], differences[c])))
    return found


class TestProductQuantizer(DecodableContract):
    FEWEST_DOCUMENTS = 256
    DIVIDES_THE_DIMENSION = True

    def codec(self) -> Decodable:
        return PQCodec(code_bytes=8, seed=0, iterations=3)

    def test_codebooks_are_those_of_k_means_of_each_part_in_float16(self) -> None:
        sample = vectors(400, seed=5)
        codebooks = PQCodec(4, seed=7, iterations=5).fit(sample)["codebooks"]
        for part, codebook in enumerate(codebooks):
            rows = sample[:, 6 * part : 6 * (part + 1)].astype(np.float32)
            assert same(codebook, k_means(rows, 256, 5, seed=7).astype(np.float16))

    def test_the_error_is_that_of_faiss(self) -> None:
        """Of the sample and of other vectors; local optima differ by a few thousandths."""
        sample, others = vectors(3000, seed=5, dimension=96), vectors(1000, seed=6, dimension=96)
        quantizer: Any = faiss.ProductQuantizer(96, 16, 8)
        quantizer.cp.niter, quantizer.cp.min_points_per_centroid = 15, 1
        quantizer.train(sample.astype(np.float32))
        codec = PQCodec(16, seed=0, iterations=15)
        state = codec.fit(sample)
        for rows, slack in ((sample.astype(np.float32), 1.01), (others.astype(np.float32), 1.02)):
            theirs = np.asarray(quantizer.decode(quantizer.compute_codes(rows)), np.float32)
            ours = codec.decode(state, codec.encode(state, rows))
            assert np.square(ours - rows).sum() < slack * np.square(theirs - rows).sum()

    def test_settings_reach_the_training(self) -> None:
        sample = vectors(600, seed=5)
        base = PQCodec(4, seed=0, iterations=3).fit(sample)["codebooks"]
        for other in (PQCodec(4, seed=1, iterations=3), PQCodec(4, seed=0, iterations=4)):
            assert (other.fit(sample)["codebooks"] != base).any()

    def test_training_prints_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        PQCodec(2, seed=0, iterations=1).fit(vectors(256, seed=5))
        assert capfd.readouterr() == ("", "")

    def test_all_given_documents_are_trained_on(self) -> None:
        # Faiss alone would sample 256 points a centroid, 65,536 of these; a quarter of them is trained on first.
        sample = np.zeros((66_000, 1), dtype=np.float32)
        sample[:, 0] = np.arange(66_000) % 250
        sample[-6:, 0] = [1e4, 2e4, 3e4, 4e4, 5e4, 6e4]
        codebooks = PQCodec(1, seed=0, iterations=20).fit(sample)["codebooks"]
        assert codebooks.max() > 1e4

    @pytest.mark.parametrize(("code_bytes", "dimension"), [(2, 96), (16, 96)])
    def test_codes_agree_with_faiss_away_from_ties(self, code_bytes: int, dimension: int) -> None:
        sample = vectors(2000, seed=6, dimension=dimension)
        codec = PQCodec(code_bytes, seed=0, iterations=3)
        state = codec.fit(sample)
        documents = vectors(3000, seed=7, dimension=dimension).astype(np.float32)
        codes = codec.encode(state, documents)
        by_faiss = faiss_quantizer(state["codebooks"])
        assert (codes == by_faiss.compute_codes(documents)).mean() > 0.9999
        assert same(codec.decode(state, codes), by_faiss.decode(codes))

    def test_vectors_between_centroids_have_one_code_in_any_batch(self) -> None:
        sample = vectors(600, seed=8, dimension=96)
        codec = PQCodec(2, seed=0, iterations=3)
        state = codec.fit(sample)
        draw = np.random.RandomState(9)
        pairs = [state["codebooks"][:, draw.randint(0, 256, 40)] for _ in range(2)]
        middle = ((pairs[0] + pairs[1]) / 2).transpose(1, 0, 2)
        between = np.ascontiguousarray(middle.reshape(40, 96), dtype=np.float32)
        codes = codec.encode(state, between)
        alone = np.concatenate([codec.encode(state, row[None]) for row in between])
        assert same(codes, alone)
        for part in range(2):
            rows = between[:, 48 * part : 48 * (part + 1)]
            assert codes[:, part].tolist() == nearest_oracle_float64(rows, state["codebooks"][part])

    def test_equal_centroids_decode_alike_and_the_first_is_used(self) -> None:
        codebooks = np.repeat(np.arange(128, dtype=np.float16), 2).reshape(1, 256, 1)
        codec = PQCodec(1, 0, 1)
        given = np.arange(256, dtype=np.uint8)[:, None]
        decoded = codec.decode({"codebooks": codebooks}, given)
        assert (codec.encode({"codebooks": codebooks}, decoded) == given // 2 * 2).all()

    @pytest.mark.parametrize("setting", ["code_bytes", "seed", "iterations"])
    def test_settings_out_of_range_are_refused(self, setting: str) -> None:
        settings = {"code_bytes": 8, "seed": 0, "iterations": 5, setting: -1}
        with pytest.raises(InvalidInput, match=f"{setting} is -1: give at least"):
            PQCodec(**settings)

    def test_a_dimension_that_cannot_be_cut_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="code_bytes is 7: choose a divisor of the dimension 24"):
            PQCodec(7, 0, 1).fit(self.sample())

    def test_fewer_documents_than_centroids_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="255 documents, fewer documents than PQ's 256 centroids"):
            self.codec().fit(vectors(255, seed=1))

    def test_codes_and_vectors_start_from_the_stored_codebooks(self) -> None:
        codec, stored = PQCodec(2, 0, 1), np.zeros((2, 256, 1), dtype=np.float16)
        stored[:, 7] = 0.1
        state = {"codebooks": stored}
        codes = codec.encode(state, np.array([[0.1, 0.04]], dtype=np.float32))
        assert codes.tolist() == [[7, 0]]
        assert codec.decode(state, codes).tolist() == [[float(np.float16(0.1)), 0]]

    def test_centroids_beyond_float16_are_refused(self) -> None:
        sample = vectors(300, seed=1).astype(np.float32) * 1e6
        with pytest.raises(InvalidInput, match="PQ's codebooks reach beyond float16's largest value 65504"):
            self.codec().fit(sample)
        assert half_precision(np.array([65519, -65519], np.float32), "").tolist() == [65504, -65504]
        for beyond in (65520, -65520, np.inf, np.nan):
            with pytest.raises(InvalidInput, match="these reach beyond float16"):
                half_precision(np.array([1, beyond], np.float32), "these")

    def test_undertrained_below_39_points_a_centroid(self) -> None:
        assert undertrained(self.codec(), 9_983)
        assert not undertrained(self.codec(), 9_984)


def nearest_oracle_float64(rows: NDArray[np.float32], centroids: NDArray[np.float32]) -> list[int]:
    """By the declared float64 distance, the first of equal ones."""
    differences = rows.astype(np.float64)[:, None, :] - centroids.astype(np.float64)
    distances = [[folded_score(d, d) for d in row] for row in differences]
    return [row.index(min(row)) for row in distances]


GRID = st.integers(-3, 3).map(lambda i: i / 4)
ANY_SIZE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 5), st.sampled_from([GRID, GRID, ANY_SIZE]))
def test_nearest_is_nearest_and_the_first(data: st.DataObject, width: int, elements: Any) -> None:
    rows = data.draw(arrays(np.float32, (4, width), elements=elements))
    centroids = data.draw(arrays(np.float32, (6, width), elements=elements))
    found = nearest(rows, centroids).tolist()
    assert found == nearest_oracle_float64(rows, centroids)
    if elements is GRID:
        assert found == nearest_oracle(rows, centroids)


def test_a_long_centroid_does_not_make_short_ones_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.RandomState(0)
    centroids = draw.standard_normal((256, 32)).astype(np.float32) * np.float32(1e-5)
    centroids[3] = 1
    rows = draw.standard_normal((40, 32)).astype(np.float32) * np.float32(1e-5)
    settled: list[int] = []

    def counted(terms: NDArray[np.float64]) -> NDArray[np.float64]:
        settled.append(len(terms))
        return sum_rows(terms)

    monkeypatch.setattr(product, "sum_rows", counted)
    assert nearest(rows, centroids).tolist() == nearest_oracle_float64(rows, centroids)
    assert sum(settled) < 2 * len(rows)


def test_nearest_settles_what_float32_cannot() -> None:
    # Both centroids are 1 ulp apart in one of 32 coordinates, so float32 scores say nothing about them.
    draw = np.random.RandomState(0)
    base = draw.standard_normal(32).astype(np.float32)
    centroids = np.repeat(base[None], 256, axis=0)
    centroids[0] += 1
    centroids[7, 3] = np.nextafter(base[3], np.float32(np.inf))
    rows = np.repeat(base[None], 40, axis=0) + draw.standard_normal((40, 32)).astype(np.float32)
    assert nearest(rows, centroids).tolist() == nearest_oracle_float64(rows, centroids)
    assert set(nearest(rows, centroids).tolist()) == {1, 7}
