"""OPQ: the shared laws, and what its rotation gains."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Decodable, State
from store.codecs.opq import OPQCodec
from store.codecs.pq import PQCodec
from store.errors import InvalidInput
from store.search.vectors import Floats
from tests.oracles.quantizers import exact_product
from tests.oracles.search import folded_score
from tests.store.codecs.codec_contract import DIMENSION, DecodableContract, same, vectors


class TestOPQ(DecodableContract):
    FEWEST_DOCUMENTS: ClassVar[int] = 256
    DIVIDES_THE_DIMENSION: ClassVar[bool] = True

    def codec(self) -> Decodable:
        return OPQCodec(code_bytes=8, seed=0, iterations=2)

    def scores(self, state: State, queries: Floats, codes: NDArray[Any]) -> NDArray[Any]:
        """Of rotated queries with centroids; `test_search_is_by_decoded_documents` compares with decoding."""
        rotated = np.array(exact_product(queries, state["rotation"]), dtype=np.float64).astype(np.float32)
        centroids = PQCodec(8, 0, 1).decode({"codebooks": state["codebooks"]}, codes)
        return np.array([[folded_score(query, document) for document in centroids] for query in rotated])

    def test_queries_of_another_dimension_are_refused(self, state: State, codes: NDArray[Any]) -> None:
        with pytest.raises(InvalidInput, match=f"have dimension {DIMENSION - 1} .* fitted on {DIMENSION}"):
            self.codec().search(state, self.queries()[:, 1:], 3)

    def test_search_is_by_decoded_documents(self, state: State, codes: NDArray[Any]) -> None:
        decoded = self.codec().decode(state, codes).astype(np.float64)
        assert np.abs(self.scores(state, self.queries(), codes) - self.queries() @ decoded.T).max() < 1e-6

    def test_codes_are_those_of_pq_for_the_rotated_vectors(self, state: State, codes: NDArray[Any]) -> None:
        rotated = np.array(exact_product(self.documents(), state["rotation"]), dtype=np.float64)
        by_pq = PQCodec(8, 0, 1).encode({"codebooks": state["codebooks"]}, rotated.astype(np.float32))
        assert same(codes, by_pq)

    def test_the_rotation_is_one(self, state: State) -> None:
        rotation = state["rotation"].astype(np.float64)
        assert np.abs(rotation @ rotation.T - np.eye(DIMENSION)).max() < 1e-5

    @pytest.mark.parametrize("setting", ["code_bytes", "seed", "iterations"])
    def test_settings_out_of_range_are_refused(self, setting: str) -> None:
        settings = {"code_bytes": 8, "seed": 0, "iterations": 5, setting: -1}
        with pytest.raises(InvalidInput, match=f"{setting} is -1: give at least"):
            OPQCodec(**settings)


def test_settings_reach_the_training() -> None:
    sample = vectors(300, seed=5)
    base = OPQCodec(4, seed=0, iterations=2).fit(sample)
    for other in (OPQCodec(4, seed=1, iterations=2), OPQCodec(4, seed=0, iterations=3)):
        assert all((other.fit(sample)[name] != base[name]).any() for name in base)


def test_a_rotation_pays_where_distant_dimensions_hang_together() -> None:
    draw = np.random.RandomState(6)
    sample = np.tile(draw.standard_normal((1500, 8)), 2) + 0.05 * draw.standard_normal((1500, 16))
    sample = (sample / np.linalg.norm(sample, axis=1, keepdims=True)).astype(np.float16)
    errors = []
    for codec in (PQCodec(4, seed=0, iterations=20), OPQCodec(4, seed=0, iterations=20)):
        state = codec.fit(sample)
        decoded = codec.decode(state, codec.encode(state, sample))
        errors.append(np.square(decoded - sample.astype(np.float64)).sum(axis=1).mean())
    assert errors[1] < 0.5 * errors[0]


def test_training_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    OPQCodec(2, seed=0, iterations=1).fit(vectors(256, seed=7))
    assert capfd.readouterr() == ("", "")


def test_fewer_documents_than_dimensions_are_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"^OPQ is fitted on 300 documents, fewer documents than the 304 dim"
    ):
        OPQCodec(8, seed=0, iterations=1).fit(np.ones((300, 304), np.float32))
    OPQCodec(8, seed=0, iterations=1).fit(
        np.random.RandomState(0).standard_normal((304, 304)).astype(np.float32)
    )
