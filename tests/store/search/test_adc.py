"""Search by tables finds what search of the decoded vectors finds, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import search_decoded
from store.codecs.pq import PQCodec
from store.errors import InvalidInput
from store.search import adc as tables
from store.search import runs
from store.search.adc import ADC_WIDTH, ADCTopK
from store.search.neighbours import Neighbours, TopK

DRAW = np.random.RandomState(5)
PARTS = 3
CODEBOOKS = (DRAW.standard_normal((PARTS, 256, ADC_WIDTH)) / 9).astype(np.float16)
CODES = DRAW.randint(0, 256, (4000, PARTS)).astype(np.uint8)
CODES[3000:] = CODES[:1000]  # ties
CODES[2000:2500, 1:] = CODES[0, 1:]
QUERIES = (DRAW.standard_normal((40, PARTS * ADC_WIDTH)) / 9).astype(np.float16)


def searched(top: TopK, size: int = 4000) -> Neighbours:
    for at in range(0, 4000, size):
        top.update(CODES[at : at + size], at)
    return top.result()


def same(a: Neighbours, b: Neighbours) -> bool:
    return a.rows.tobytes() == b.rows.tobytes() and a.scores.tobytes() == b.scores.tobytes()


# Scaled up, inner products are no longer exact in any order of summation.
@pytest.mark.parametrize(("dtype", "scale"), [(np.float16, 1), (np.float16, 99), (np.float32, 1)])
@pytest.mark.parametrize("excluding", [False, True])
def test_as_of_the_decoded_vectors(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, scale: int, excluding: bool
) -> None:
    queries: NDArray[Any] = (QUERIES * np.float16(scale)).astype(dtype)
    exclude = np.arange(40) * 70 - 1 if excluding else None
    state = {"codebooks": CODEBOOKS}
    codec = PQCodec(PARTS, 0, 1)
    decoded = searched(search_decoded(codec, state, queries, 50, exclude))
    top = codec.search(state, queries, 50, exclude)
    assert isinstance(top, ADCTopK)
    assert same(searched(top), decoded)
    monkeypatch.setattr(runs, "RUN_BYTES", PARTS * 700)
    monkeypatch.setattr(tables, "_DOCUMENTS", 100)
    monkeypatch.setattr(tables, "_QUERIES", 7)
    assert same(searched(ADCTopK(CODEBOOKS, queries, 50, exclude), 300), decoded)


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInput, match="documents have dimension 48 and the queries 40"):
        ADCTopK(CODEBOOKS, QUERIES[:, :40], 5)
    with pytest.raises(InvalidInput, match="codebooks have 255 centroids a part, not 256"):
        ADCTopK(CODEBOOKS[:, :255], QUERIES, 5)
    with pytest.raises(InvalidInput, match="k is 0"):
        ADCTopK(CODEBOOKS, QUERIES, 0)
    with pytest.raises(InvalidInput, match="codes"):
        ADCTopK(CODEBOOKS, QUERIES, 5).update(CODES[:, :2], 0)
