"""What all codecs share: checks of their input, and search over decoded blocks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import search_decoded, search_hamming
from store.codecs.floats import Float32Codec
from store.codecs.int8 import Int8Codec
from store.codecs.sign import SignCodec
from store.errors import InvalidInput
from store.search.hamming import HammingTopK
from store.search.inner_product import InnerProductTopK
from store.search.vectors import check_codes, check_vectors, row_blocks
from tests.store.codecs.codec_contract import same, vectors


class Counting(Float32Codec):
    """Notes how many codes it decodes at a time."""

    decoded: list[int]

    def decode(self, state: object, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.decoded.append(len(codes))
        return super().decode({}, codes)


def test_blocks_are_decoded_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "decoded", [], raising=False)
    documents, queries = vectors(10_000, seed=1, dimension=1000), vectors(3, seed=2, dimension=1000)
    codec = Counting()
    top = search_decoded(codec, {}, queries, 20)
    top.update(codec.encode({}, documents), 0)
    assert max(codec.decoded) * 1000 * 4 <= 16 * 2**20
    assert sum(codec.decoded) == 10_000
    direct = InnerProductTopK(queries, 20)
    direct.update(documents, 0)
    assert same(top.result().rows, direct.result().rows)


def test_rows_count_from_the_first_row_of_the_block() -> None:
    documents, queries = vectors(40, seed=1), vectors(3, seed=2)
    codec = Int8Codec()
    state = codec.fit(documents)
    top = search_decoded(codec, state, queries, 5, np.array([107, -1, 139]))
    top.update(codec.encode(state, documents), 100)
    direct = InnerProductTopK(queries, 5, np.array([7, -1, 39]))
    direct.update(codec.decode(state, codec.encode(state, documents)), 0)
    assert same(top.result().rows, direct.result().rows + 100)
    assert same(top.result().scores, direct.result().scores)


def test_hamming_search_encodes_the_queries() -> None:
    documents, queries = vectors(40, seed=1), vectors(3, seed=2)
    codes = SignCodec().encode({}, documents)
    top = search_hamming(SignCodec(), {}, queries, 5)
    top.update(codes, 0)
    direct = HammingTopK(SignCodec().encode({}, queries), 5)
    direct.update(codes, 0)
    assert same(top.result().rows, direct.result().rows)


def test_the_first_row_that_is_not_finite_is_named_in_any_block() -> None:
    sample = np.zeros((3000, 1000), dtype=np.float16)
    sample[2900, 999] = np.nan
    sample[2950, 0] = np.inf
    with pytest.raises(InvalidInput, match="vectors row 2900 holds NaN or infinity: remove or recompute it"):
        check_vectors(sample)


def test_vectors_without_dimensions_and_of_another_dimension_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"vectors have shape \(3, 0\) and dtype float16"):
        check_vectors(np.zeros((3, 0), np.float16))
    with pytest.raises(InvalidInput, match="vectors have dimension 2 but the codec was fitted on 3"):
        check_vectors(np.zeros((3, 2), np.float16), 3)


def test_codes_of_another_width_are_refused() -> None:
    check_codes(np.zeros((2, 3), np.uint8), 3, np.uint8)
    with pytest.raises(
        InvalidInput, match=r"codes have shape \(2, 3\) and dtype uint8: give \(rows, 4\) in uint8"
    ):
        check_codes(np.zeros((2, 3), np.uint8), 4, np.uint8)


@pytest.mark.parametrize(("rows", "width"), [(0, 5), (1, 1 << 30), (3_000_000, 1), (5000, 384)])
def test_blocks_cover_every_row_once(rows: int, width: int) -> None:
    blocks = row_blocks(rows, width)
    assert [row for block in blocks for row in (block.start, block.stop)] == sorted(
        row for block in blocks for row in (block.start, block.stop)
    )
    assert sum(block.stop - block.start for block in blocks) == rows
    assert all((block.stop - block.start - 1) * width < 1 << 20 for block in blocks)
