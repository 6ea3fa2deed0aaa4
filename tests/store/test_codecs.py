"""The codecs of the core study: the shared laws, and what each one promises beyond them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.codecs import phase1
from store.codecs.base import Codec, Decodable
from store.codecs.binary import Phase1Codec
from store.codecs.floating import Float32Codec
from store.codecs.product import PQCodec, nearest, undertrained
from store.codecs.scalar import Int8Codec
from store.errors import InvalidInput
from store.summation import float32_error_share, sum_rows
from tests.oracles.search import exact_score, folded_score
from tests.store.codec_contract import CodecContract, DecodableContract, same, vectors


class TestPhase1(CodecContract):
    dimension_is_in_the_state = False

    def codec(self) -> Codec:
        return Phase1Codec(bits=64, seed=3)

    def test_codes_are_those_of_the_engine(self) -> None:
        documents = self.documents()
        codes = self.codec().encode({}, documents)
        assert same(codes, phase1.encode(documents, 64, 3))
        assert (codes != Phase1Codec(64, 4).encode({}, documents)).any()

    def test_shorter_codes_are_prefixes(self) -> None:
        long = Phase1Codec(128, 3).encode({}, self.documents())
        assert same(Phase1Codec(64, 3).encode({}, self.documents()), long[:, :8].copy())

    @pytest.mark.parametrize("bits", [0, -8, 12])
    def test_bits_that_are_no_bytes_are_refused(self, bits: int) -> None:
        with pytest.raises(InvalidInput, match=f"bits is {bits}: give a positive multiple of 8"):
            Phase1Codec(bits, 0)


class TestFloat32(DecodableContract):
    dimension_is_in_the_state = False

    def codec(self) -> Decodable:
        return Float32Codec()

    def test_vectors_come_back_unchanged(self) -> None:
        documents = self.documents()
        decoded = self.codec().decode({}, self.codec().encode({}, documents))
        assert same(decoded.astype(np.float16), documents)
        assert Float32Codec().bytes_per_vector(384) == 1536


class TestInt8(DecodableContract):
    def codec(self) -> Decodable:
        return Int8Codec()

    def test_grid_is_that_of_the_definition(self) -> None:
        sample = np.array([[0, -1, 7], [255, 1, 7], [10, 0.25, 7]], dtype=np.float32)
        state = Int8Codec().fit(sample)
        assert state["minimum"].tolist() == [0, -1, 7]
        assert state["step"].tolist() == [1, 2 / 255, 0]
        vectors = np.array([[0.5, -1, 7], [1.5, 1, 7], [2.5, -3, 8], [254.5, 9, -8]], dtype=np.float32)
        codes = Int8Codec().encode(state, vectors)
        # Halves go to the even level, values beyond the range to its ends, a constant dimension to 0.
        assert codes.tolist() == [[0, 0, 0], [2, 255, 0], [2, 0, 0], [254, 255, 0]]
        decoded = Int8Codec().decode(state, codes)
        assert decoded.tolist() == [[0, -1, 7], [2, 1, 7], [2, -1, 7], [254, 1, 7]]

    def test_error_is_at_most_half_a_step_within_the_range(self) -> None:
        sample = vectors(500, seed=4)
        state = Int8Codec().fit(sample)
        decoded = Int8Codec().decode(state, Int8Codec().encode(state, sample)).astype(np.float64)
        assert (np.abs(decoded - sample) <= state["step"] / 2 + 1e-7).all()
        assert np.abs(decoded - sample).max() > state["step"].max() / 2.1

    @given(arrays(np.float32, (6, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
    def test_any_range_is_a_fixed_point_and_never_wraps(self, sample: NDArray[np.float32]) -> None:
        codec = Int8Codec()
        state = codec.fit(sample)
        codes = codec.encode(state, sample)
        decoded = codec.decode(state, codes)
        assert (codec.encode(state, decoded) == codes).all()
        order = np.argsort(sample, axis=0, kind="stable")
        assert (np.diff(np.take_along_axis(codes, order, 0).astype(int), axis=0) >= 0).all()
        rounding = state["step"] * 2.0**-40
        assert (decoded >= sample.min(axis=0)).all()
        assert (decoded <= sample.max(axis=0) + rounding).all()

    def test_an_empty_sample_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="int8 is fitted on no documents"):
            Int8Codec().fit(vectors(1, 0)[:0])


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
    def codec(self) -> Decodable:
        return PQCodec(code_bytes=8, seed=0, iterations=3)

    def test_codebooks_are_those_of_faiss(self) -> None:
        sample = vectors(400, seed=5)
        quantizer = faiss.ProductQuantizer(24, 4, 8)
        quantizer.cp.seed, quantizer.cp.niter, quantizer.cp.min_points_per_centroid = 7, 5, 1
        quantizer.train(sample.astype(np.float32))
        codebooks = PQCodec(4, seed=7, iterations=5).fit(sample)["codebooks"]
        assert codebooks.dtype == np.float16
        found = faiss.vector_to_array(quantizer.centroids).reshape(4, 256, 6)
        assert codebooks.tobytes() == found.astype(np.float16).tobytes()

    def test_settings_reach_the_training(self) -> None:
        sample = vectors(600, seed=5)
        base = PQCodec(4, seed=0, iterations=3).fit(sample)["codebooks"]
        for other in (PQCodec(4, seed=1, iterations=3), PQCodec(4, seed=0, iterations=4)):
            assert (other.fit(sample)["codebooks"] != base).any()

    def test_training_prints_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        PQCodec(2, seed=0, iterations=1).fit(vectors(256, seed=5))
        assert capfd.readouterr() == ("", "")

    def test_all_given_documents_are_trained_on(self) -> None:
        # Faiss alone would sample 256 points a centroid: 65,536 of these, and miss most of the outliers.
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
        codebooks = np.repeat(np.arange(128, dtype=np.float32), 2).reshape(1, 256, 1)
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

    def test_undertrained_below_39_points_a_centroid(self) -> None:
        assert undertrained(9_983)
        assert not undertrained(9_984)


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


@given(arrays(np.float64, (3, 7), elements=st.floats(-1e6, 1e6)))
def test_rows_are_summed_in_the_declared_order(terms: NDArray[np.float64]) -> None:
    expected = [folded_score(row, np.ones(len(row))) for row in terms]
    assert sum_rows(terms.copy()).tolist() == expected


def test_float32_error_stays_below_its_bound() -> None:
    draw = np.random.RandomState(0)
    for width in (1, 2, 24, 384):
        a, b = draw.standard_normal((2, 50, width)).astype(np.float32)
        exact = (a.astype(np.float64) * b).sum(axis=1)
        absolute = np.abs(a.astype(np.float64) * b).sum(axis=1)
        for computed in (np.einsum("ij,ij->i", a, b), (a @ b.T).diagonal()):
            assert (np.abs(computed - exact) <= float32_error_share(width) * absolute).all()
    shares = [float32_error_share(width) for width in (1, 24, 384)]
    assert all(small < large for small, large in pairwise(shares))
    assert shares[0] == pytest.approx(2.0**-24)
