"""Asymmetric search: float projections against packed signs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from store.codecs.base import search_asymmetric
from store.codecs.itq import ITQCodec
from store.codecs.phase1_codec import Phase1Codec
from store.errors import InvalidInput
from store.search.asymmetric import AsymmetricTopK
from tests.oracles.search import exact_score, ranked
from tests.store.codecs.codec_contract import vectors


def expected_rows(
    projections: NDArray[Any], bits: NDArray[Any], k: int, exclude: NDArray[Any]
) -> list[list[int]]:
    """Exact sums of the float32 projections, plus where the bit is 1 and minus where it is 0."""
    signs = np.where(bits, 1.0, -1.0)
    return [
        ranked([exact_score(query, row) for row in signs], k, int(leave))
        for query, leave in zip(projections.astype(np.float32), exclude, strict=True)
    ]


GRID = st.integers(-8, 8).map(lambda i: i / 4)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 20), st.integers(1, 4))
def test_rows_are_those_of_exact_sums(data: st.DataObject, width: int, k: int) -> None:
    bits = data.draw(arrays(np.bool_, (9, width)))
    projections = data.draw(arrays(np.float64, (3, width), elements=GRID))
    exclude = np.array([-1, 0, 5])
    top = AsymmetricTopK(projections, k, exclude)
    codes = np.packbits(bits, axis=1)
    codes[:, -1] |= data.draw(st.integers(0, (1 << (-width % 8)) - 1))  # what stands behind the last bit
    for at in (6, 0, 3):
        top.update(codes[at : at + 3], at)
    found = top.result()
    assert found.rows.tolist() == expected_rows(projections, bits, k, exclude)
    signs = np.where(bits, 1.0, -1.0)
    assert found.scores.tolist() == np.take_along_axis(projections @ signs.T, found.rows, axis=1).tolist()


@pytest.mark.parametrize("codec", [Phase1Codec(64, 3), ITQCodec(24, 0, 5)])
def test_codecs_are_searched_by_their_projections(codec: Any) -> None:
    state = codec.fit(vectors(300, seed=1))
    documents, queries = vectors(200, seed=2), vectors(8, seed=3)
    codes = codec.encode(state, documents)
    exclude = np.array([-1, 3, 8, -1, 0, 199, -1, 17])
    top = search_asymmetric(codec, state, queries, 10, exclude)
    top.update(codes, 0)
    bits = np.unpackbits(codes, axis=1)
    assert top.result().rows.tolist() == expected_rows(codec.project(state, queries), bits, 10, exclude)


def test_more_of_the_true_neighbours_are_found_than_by_hamming_distance() -> None:
    documents, queries = vectors(2000, seed=4), vectors(50, seed=5)
    codec = Phase1Codec(64, 0)
    exact = np.argsort(-(queries.astype(np.float64) @ documents.T.astype(np.float64)), axis=1)[:, :10]
    codes = codec.encode({}, documents)
    overlaps = []
    for top in (codec.search({}, queries, 10), search_asymmetric(codec, {}, queries, 10)):
        top.update(codes, 0)
        found = top.result().rows
        overlaps.append(np.mean([len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)]) / 10)
    assert overlaps[1] > overlaps[0] + 0.03


def test_many_documents_are_unpacked_in_blocks() -> None:
    draw = np.random.RandomState(6)
    codes = draw.randint(0, 256, (40_000, 8)).astype(np.uint8)  # more than a block of 2^20 signs
    projections = draw.standard_normal((3, 64))
    top = AsymmetricTopK(projections, 5)
    top.update(codes, 0)
    scores = projections.astype(np.float32).astype(np.float64) @ (2.0 * np.unpackbits(codes, axis=1) - 1).T
    assert top.result().rows.tolist() == np.argsort(-scores, axis=1)[:, :5].tolist()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"projections have shape \(5,\): give \(queries, bits\)"):
        AsymmetricTopK(np.zeros(5), 1)
    with pytest.raises(InvalidInput, match="k is 0: ask for at least 1 neighbour"):
        AsymmetricTopK(np.zeros((1, 12)), 0)
    with pytest.raises(InvalidInput, match="queries row 1 is not finite"):
        AsymmetricTopK(np.array([[1.0], [np.inf]]), 1)
    top = AsymmetricTopK(np.zeros((2, 12)), 1)
    with pytest.raises(InvalidInput, match=r"codes have shape \(3, 3\) .* give \(rows, 2\) in uint8"):
        top.update(np.zeros((3, 3), np.uint8), 0)
    with pytest.raises(InvalidInput, match="k is 1 but some query has fewer documents"):
        top.result()
