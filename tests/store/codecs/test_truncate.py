"""First coordinates."""

from __future__ import annotations

import numpy as np

from store.codecs.base import Decodable
from store.codecs.truncate import TruncateCodec
from tests.store.codecs.codec_contract import DIMENSION, DecodableContract


class TestTruncate(DecodableContract):
    LEARNS = False

    def codec(self) -> Decodable:
        return TruncateCodec(dimensions=16)

    def test_the_first_dimensions_stay_and_the_others_are_zero(self) -> None:
        documents = self.documents()
        state = TruncateCodec(5).fit(documents)
        decoded = TruncateCodec(5).decode(state, TruncateCodec(5).encode(state, documents))
        assert (decoded[:, :5] == documents[:, :5]).all()
        assert not decoded[:, 5:].any()
        assert decoded.shape[1] == DIMENSION

    def test_scores_are_inner_products_without_normalising_again(self) -> None:
        documents, queries = self.documents(), self.queries()
        codec = TruncateCodec(5)
        state = codec.fit(documents)
        top = codec.search(state, queries, 90)
        top.update(codec.encode(state, documents), 0)
        expected = queries[:, :5].astype(np.float64) @ documents[:, :5].astype(np.float64).T
        found = top.result()
        np.testing.assert_allclose(found.scores, np.take_along_axis(expected, found.rows, 1), atol=1e-15)
