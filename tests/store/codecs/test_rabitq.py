"""RaBitQ: the shared laws, and its estimates against the paper's and Faiss's."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Decodable, State
from store.codecs.rabitq import RaBitQCodec
from store.errors import InvalidInput
from store.numerics.linear import product
from store.search.vectors import Floats
from tests.oracles.quantizers import exact_product, rabitq_estimate
from tests.oracles.search import folded_score
from tests.store.codecs.codec_contract import DIMENSION, DecodableContract, same, vectors


def parts(codes: NDArray[np.uint8], dimension: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Signs as -1 and 1, scales and offsets."""
    signs = 2.0 * np.unpackbits(codes[:, :-8], axis=1)[:, :dimension] - 1
    factors = np.frombuffer(codes[:, -8:].tobytes(), dtype="<f4").reshape(-1, 2)
    return signs, factors[:, 0], factors[:, 1]


def searched(
    codec: RaBitQCodec, state: State, queries: Floats, codes: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(queries, documents) estimates by row of document, from a search for all of them."""
    top = codec.search(state, queries, len(codes))
    top.update(codes, 0)
    found = top.result()
    scores = np.empty(found.rows.shape)
    np.put_along_axis(scores, found.rows, found.scores.astype(np.float64), axis=1)
    return scores


class TestRaBitQ(DecodableContract):
    def codec(self) -> Decodable:
        return RaBitQCodec(seed=0)

    def scores(self, state: State, queries: Floats, codes: NDArray[Any]) -> NDArray[Any]:
        """The offset is not in the decoded vectors, so search is not by them alone."""
        dimension = queries.shape[1]
        signs, scale, offset = parts(codes, dimension)
        rotated = np.array(exact_product(queries, state["rotation"]), dtype=np.float64).astype(np.float32)
        documents = (signs * scale[:, None] + product(state["mean"][None], state["rotation"])).astype(
            np.float32
        )
        return np.array(
            [
                [
                    folded_score(np.append(query, np.float32(1)), np.append(document, constant))
                    for document, constant in zip(documents, offset, strict=True)
                ]
                for query in rotated
            ]
        )

    def check_encoded_again(self, state: State, codes: NDArray[Any]) -> None:
        """The signs are a fixed point, the scale is one up to rounding, and the offset becomes zero.

        A decoded vector is its own quantised vector: nothing is left for the offset to correct. All of this holds
        for residuals that rounding the decoded vector to float32 does not drown.
        """
        decoded = self.codec().decode(state, codes)
        signs, scale, _ = parts(codes, decoded.shape[1])
        signs_again, scale_again, offset_again = parts(self.codec().encode(state, decoded), decoded.shape[1])
        clear = (scale == 0) | (scale > 1e-4 * np.abs(decoded).max(axis=1))
        assert clear.mean() >= 0.5
        assert (signs_again[clear] == signs[clear]).all()
        assert np.allclose(scale_again[clear], scale[clear], rtol=1e-3, atol=0)
        assert (np.abs(offset_again[clear]) <= 1e-5 * np.maximum(scale[clear], 1)).all()

    def test_queries_of_another_dimension_are_refused(self, state: State, codes: NDArray[Any]) -> None:
        with pytest.raises(InvalidInput, match=f"have dimension {DIMENSION - 1} .* fitted on {DIMENSION}"):
            self.codec().search(state, self.queries()[:, 1:], 3)

    def test_a_vector_at_the_centre_is_exact(self, state: State) -> None:
        centre = state["mean"][None]
        codes = self.codec().encode(state, centre)
        assert not codes.any()
        assert np.abs(self.codec().decode(state, codes) - centre).max() < 1e-7

    def test_factors_are_clipped(self, state: State) -> None:
        huge = np.full((1, DIMENSION), 3e38, dtype=np.float32)
        huge[0, ::2] *= -1
        _, scale, offset = parts(self.codec().encode(state, huge), DIMENSION)
        assert scale == np.float32(1e30)
        assert abs(offset) <= np.float32(1e30)

    def test_the_rotation_is_one_and_follows_the_seed(self, state: State) -> None:
        rotation = state["rotation"].astype(np.float64)
        assert np.abs(rotation @ rotation.T - np.eye(DIMENSION)).max() < 1e-6
        # The rotation is the polar factor: what is left of the drawn matrix is positive definite.
        drawn = np.random.RandomState(0).standard_normal((DIMENSION, DIMENSION))
        assert (np.diagonal(rotation.T @ drawn) > 0).all()
        other = RaBitQCodec(seed=1).fit(self.sample())
        assert np.abs(other["rotation"] - rotation).max() > 0.1
        assert same(other["mean"], state["mean"])

    def test_a_negative_seed_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="seed is -1: give at least 0"):
            RaBitQCodec(-1)


@pytest.mark.parametrize("dimension", [24, 61])
def test_estimates_are_those_of_the_paper(dimension: int) -> None:
    codec = RaBitQCodec(seed=2)
    state = codec.fit(vectors(300, seed=1, dimension=dimension))
    documents, queries = vectors(40, seed=2, dimension=dimension), vectors(6, seed=3, dimension=dimension)
    codes = codec.encode(state, documents)
    scores = searched(codec, state, queries, codes)
    decoded, (_, _, offset) = codec.decode(state, codes).astype(np.float64), parts(codes, dimension)
    by_decoding = queries.astype(np.float64) @ decoded.T + offset
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            _, expected = rabitq_estimate(query, document, state["mean"], state["rotation"])
            assert scores[i, j] == pytest.approx(expected, abs=1e-5)
            assert by_decoding[i, j] == pytest.approx(expected, abs=1e-5)


def test_estimates_and_signs_are_those_of_faiss() -> None:
    dimension = 64
    sample, documents = vectors(500, seed=1, dimension=dimension), vectors(200, seed=2, dimension=dimension)
    queries = vectors(10, seed=3, dimension=dimension)
    codec = RaBitQCodec(seed=0)
    state = codec.fit(sample)
    codes = codec.encode(state, documents)

    def rotated(rows: Floats) -> NDArray[np.float32]:
        return np.ascontiguousarray(rows.astype(np.float64) @ state["rotation"], dtype=np.float32)

    products = searched(codec, state, queries, codes)
    squares = [np.square(rows, dtype=np.float64).sum(axis=1) for rows in (queries, documents)]
    distances = squares[0][:, None] + squares[1] - 2 * products
    for metric, expected in ((faiss.METRIC_INNER_PRODUCT, products), (faiss.METRIC_L2, distances)):
        index: Any = faiss.IndexRaBitQ(dimension, metric)
        index.qb = 0  # queries are not quantised
        index.train(rotated(sample))
        index.add(rotated(documents))
        scores, rows = index.search(rotated(queries), len(documents))
        found = np.empty_like(scores)
        np.put_along_axis(found, rows, scores, axis=1)
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-6)
    by_faiss = faiss.vector_to_array(index.codes).reshape(len(documents), -1)[:, : dimension // 8]
    assert (np.unpackbits(by_faiss, axis=1, bitorder="little") == np.unpackbits(codes[:, :-8], axis=1)).all()


def test_estimates_are_unbiased_over_rotations() -> None:
    sample, document = vectors(100, seed=1), vectors(1, seed=2)
    query = (document + 0.5 * vectors(1, seed=3)).astype(np.float16)
    estimates = []
    for seed in range(400):
        codec = RaBitQCodec(seed)
        state = codec.fit(sample)
        estimates.append(searched(codec, state, query, codec.encode(state, document))[0, 0])
    q, x, c = (rows[0].astype(np.float64) for rows in (query, document, state["mean"][None]))
    standard_error = np.std(estimates) / 20
    assert abs(np.mean(estimates) - q @ x) < 3 * standard_error
    # Without the paper's divisor <o-bar, o>, about sqrt(2 / pi), this test would fail.
    assert (1 - np.sqrt(2 / np.pi)) * ((q - c) @ (x - c)) > 6 * standard_error


def test_the_offset_lessens_the_error_of_off_centre_vectors() -> None:
    sample, documents, queries = (vectors(n, seed=n, dimension=96) for n in (400, 200, 20))
    lifted = [(rows.astype(np.float64) + 0.3).astype(np.float16) for rows in (sample, documents, queries)]
    codec = RaBitQCodec(seed=0)
    state = codec.fit(lifted[0])
    codes = codec.encode(state, lifted[1])
    exact = lifted[2].astype(np.float64) @ lifted[1].T.astype(np.float64)
    errors = searched(codec, state, lifted[2], codes) - exact
    without = lifted[2].astype(np.float64) @ codec.decode(state, codes).T - exact
    assert np.square(errors).mean() < 0.5 * np.square(without).mean()
