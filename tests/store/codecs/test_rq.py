"""RQ: the shared laws, its stages against Faiss and its greedy codes against plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Decodable, State
from store.codecs.rq import RQCodec
from store.errors import InvalidInput
from store.numerics.k_means import k_means
from store.search.vectors import Floats
from tests.oracles.quantizers import greedy_codes
from tests.store.codecs.codec_contract import DecodableContract, same, vectors


class TestOneStage(DecodableContract):
    """Of one stage, which is plain vector quantisation, decoded vectors are fixed points."""

    FEWEST_DOCUMENTS: ClassVar[int] = 256

    def codec(self) -> Decodable:
        return RQCodec(code_bytes=1, seed=0, iterations=3)


class TestRQ(DecodableContract):
    FEWEST_DOCUMENTS: ClassVar[int] = 256

    def codec(self) -> Decodable:
        return RQCodec(code_bytes=4, seed=0, iterations=3)

    def check_encoded_again(self, state: State, codes: NDArray[Any]) -> None:
        """Greedy codes are no fixed point: a sum of centroids may be nearer to another first one.

        What holds for every vector holds for the decoded one: its code is that of the plain loops.
        """
        decoded = self.codec().decode(state, codes)[:10]
        assert self.codec().encode(state, decoded).tolist() == greedy_codes(decoded, state["codebooks"])

    def test_codes_are_those_of_plain_loops(self, state: State, codes: NDArray[Any]) -> None:
        assert codes[:20].tolist() == greedy_codes(self.documents()[:20], state["codebooks"])

    def test_the_first_bytes_are_the_code_of_fewer_stages(self, state: State, codes: NDArray[Any]) -> None:
        first = {"codebooks": state["codebooks"][:2]}
        shorter = RQCodec(2, seed=0, iterations=3)
        assert same(shorter.encode(first, self.documents()), codes[:, :2].copy())
        assert same(shorter.fit(self.sample())["codebooks"], first["codebooks"])

    def sample(self) -> Floats:
        return vectors(600, seed=1)  # of 300 the second stage leaves nothing

    def test_each_stage_lessens_the_error_on_the_sample(self, state: State) -> None:
        sample = self.sample().astype(np.float64)
        errors = []
        for stages in range(1, 5):
            first, codec = {"codebooks": state["codebooks"][:stages]}, RQCodec(stages, 0, 3)
            decoded = codec.decode(first, codec.encode(first, self.sample()))
            errors.append(np.square(decoded - sample).sum())
        assert all(after < before for before, after in pairwise(errors))

    @pytest.mark.parametrize("setting", ["code_bytes", "seed", "iterations"])
    def test_settings_out_of_range_are_refused(self, setting: str) -> None:
        settings = {"code_bytes": 8, "seed": 0, "iterations": 5, setting: -1}
        with pytest.raises(InvalidInput, match=f"{setting} is -1: give at least"):
            RQCodec(**settings)


def test_each_stage_is_plain_k_means_of_what_the_stages_before_leave() -> None:
    sample = vectors(700, seed=5)
    codebooks = RQCodec(3, seed=7, iterations=4).fit(sample)["codebooks"]
    left = sample.astype(np.float32)
    for codebook in codebooks:
        assert same(codebook, k_means(left, 256, 4, seed=7).astype(np.float16))
        left -= codebook[np.ravel(greedy_codes(left, codebook[np.newaxis]))].astype(np.float32)


def test_where_nothing_is_left_stages_are_zero() -> None:
    # As many documents as centroids: the first stage takes all but the rounding to float16.
    sample = vectors(256, seed=10).astype(np.float32) / np.float32(3)
    codec = RQCodec(16, seed=0, iterations=3)
    state = codec.fit(sample)
    used = np.array([codebook.any() for codebook in state["codebooks"]])
    stages = int(used.sum())
    assert 1 < stages < 16
    assert used[:stages].all()
    decoded = codec.decode(state, codec.encode(state, sample))
    assert np.abs(decoded - sample).max() <= np.finfo(np.float16).smallest_subnormal


def test_codes_agree_with_those_of_faiss() -> None:
    sample = vectors(1500, seed=6, dimension=48)
    codec = RQCodec(3, seed=0, iterations=4)
    state = codec.fit(sample)
    quantizer = faiss.ResidualQuantizer(48, 3, 8)
    faiss.copy_array_to_vector(state["codebooks"].astype(np.float32).ravel(), quantizer.codebooks)
    quantizer.is_trained, quantizer.max_beam_size = True, 1
    documents = vectors(500, seed=7, dimension=48)
    assert (
        codec.encode(state, documents) == quantizer.compute_codes(documents.astype(np.float32))
    ).mean() > 0.999


def test_settings_reach_the_training() -> None:
    sample = vectors(600, seed=8)
    base = RQCodec(2, seed=0, iterations=3).fit(sample)["codebooks"]
    for other in (RQCodec(2, seed=1, iterations=3), RQCodec(2, seed=0, iterations=4)):
        assert (other.fit(sample)["codebooks"] != base).any()


def test_of_equal_centroids_the_first_is_used() -> None:
    codebooks = np.repeat(np.arange(128, dtype=np.float16), 2).reshape(1, 256, 1)
    given = np.arange(256, dtype=np.uint8)[:, None]
    decoded = RQCodec(1, 0, 1).decode({"codebooks": codebooks}, given)
    assert (RQCodec(1, 0, 1).encode({"codebooks": codebooks}, decoded) == given // 2 * 2).all()


def test_centroids_beyond_float16_are_refused() -> None:
    with pytest.raises(InvalidInput, match="RQ's codebooks reach beyond float16's largest value"):
        RQCodec(1, 0, 1).fit(1e5 * vectors(256, seed=9).astype(np.float32))


def test_training_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    RQCodec(2, seed=0, iterations=1).fit(vectors(256, seed=9))
    assert capfd.readouterr() == ("", "")
