"""Principal components, and what they share with first coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from store.codecs.base import Decodable, State
from store.codecs.pca import PCACodec
from store.codecs.truncate import TruncateCodec
from store.errors import InvalidInput
from tests.store.codecs.codec_contract import DIMENSION, DecodableContract, vectors


class TestPCA(DecodableContract):
    FEWEST_DOCUMENTS = 17

    def codec(self) -> Decodable:
        return PCACodec(dimensions=16)

    def check_encoded_again(self, state: State, codes: NDArray[Any]) -> None:
        """A decoded vector has its components again up to the rounding of float32, unless decoding was clipped."""
        again = self.codec().encode(state, self.codec().decode(state, codes))
        numbers, repeated = (c.view("<f4").astype(np.float64) for c in (codes, again))
        size = 1 + np.linalg.norm(numbers, axis=1, keepdims=True)
        moderate = size[:, 0] < 1e37
        assert (np.abs(repeated - numbers)[moderate] <= (2.0**-20 * size)[moderate]).all()

    def test_components_are_those_of_the_library(self) -> None:
        sample, documents = vectors(500, seed=4).astype(np.float64), self.documents()
        sample[:, 3] *= 3
        sample[:, 7] *= 2
        sample16 = sample.astype(np.float16)
        state = PCACodec(2).fit(sample16)
        library = PCA(2, svd_solver="full").fit(sample16.astype(np.float64))
        assert state["mean"].dtype == state["axes"].dtype == np.float32
        np.testing.assert_allclose(state["mean"], library.mean_, atol=1e-7)
        signs = np.sign((state["axes"] * library.components_.T).sum(axis=0))
        np.testing.assert_allclose(state["axes"] * signs, library.components_.T, atol=1e-6)
        components = PCACodec(2).encode(state, documents).view("<f4")
        np.testing.assert_allclose(components * signs, library.transform(documents), atol=1e-6)
        decoded = PCACodec(2).decode(state, PCACodec(2).encode(state, documents))
        expected = library.inverse_transform(library.transform(documents))
        np.testing.assert_allclose(decoded, expected, atol=1e-6)

    def test_axes_are_orthonormal_and_on_the_grid(self) -> None:
        axes = self.codec().fit(self.sample())["axes"].astype(np.float64)
        np.testing.assert_allclose(axes.T @ axes, np.eye(16), atol=1e-6)
        assert (np.rint(axes * 2**24) == axes * 2**24).all()

    def test_all_components_lose_nothing_but_rounding(self) -> None:
        documents = self.documents()
        codec = PCACodec(DIMENSION)
        state = codec.fit(self.sample())
        np.testing.assert_allclose(codec.decode(state, codec.encode(state, documents)), documents, atol=1e-6)

    def test_a_sample_of_several_blocks_is_taken_whole(self) -> None:
        # One dimension varies in the first rows alone and one in the last, beyond the first block of rows.
        sample = np.zeros((60_000, DIMENSION), dtype=np.float16)
        sample[:600:2, 0], sample[1:600:2, 0] = 100, -100
        sample[-600::2, 1], sample[-599::2, 1] = 200, -200
        axes = PCACodec(2).fit(sample)["axes"]
        assert np.abs(axes[1, 0]) > 0.99
        assert np.abs(axes[0, 1]) > 0.99

    def test_no_more_documents_than_components_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="PCA of 16 components is fitted on 16 documents: give more"):
            self.codec().fit(self.sample()[:16])


@pytest.mark.parametrize("kind", [TruncateCodec, PCACodec])
def test_dimensions_out_of_range_are_refused(kind: type[TruncateCodec] | type[PCACodec]) -> None:
    for dimensions in (0, -3):
        with pytest.raises(InvalidInput, match=f"dimensions is {dimensions}: give at least 1"):
            kind(dimensions)
    with pytest.raises(InvalidInput, match="dimensions is 25: give at most the dimension 24"):
        kind(25).fit(vectors(300, seed=1))
    assert kind(24).bytes_per_vector(24) == 96
    assert kind(3).bytes_per_vector(384) == 12
