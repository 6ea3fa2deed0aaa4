"""Results of parts, merged, are those of one search of all documents, bit for bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.hamming import HammingTopK
from store.search.inner_product import InnerProductTopK
from store.search.merging import merged, wanted_of
from store.search.neighbours import Neighbours, TopK
from tests.counts import count


def oracle(
    scores: NDArray[Any], k: int, exclude: NDArray[np.int64], larger_is_better: bool
) -> list[list[tuple[int, float]]]:
    """The k best of (queries, documents) scores, by sorting all of them in Python."""
    found = []
    for query, row in enumerate(scores.tolist()):
        pairs = [(at, score) for at, score in enumerate(row) if at != exclude[query]]
        found.append(sorted(pairs, key=lambda pair: (-pair[1] if larger_is_better else pair[1], pair[0]))[:k])
    return found


def part_of(scores: NDArray[Any], rows: list[int], k: int, larger_is_better: bool) -> Neighbours:
    """What a search of some documents finds, all of which may be found."""
    best = oracle(scores[:, rows], k, np.full(len(scores), -1), larger_is_better)
    return Neighbours(
        np.array([[rows[at] for at, _ in found] for found in best]),
        np.array([[score for _, score in found] for found in best], scores.dtype),
        larger_is_better,
    )


@hypothesis_settings(max_examples=count(full=500, quick=60))
@given(st.data())
def test_any_cut_in_any_order_is_the_whole(data: st.DataObject) -> None:
    documents = data.draw(st.integers(1, 30), "documents")
    queries = data.draw(st.integers(1, 4), "queries")
    larger_is_better = data.draw(st.booleans(), "larger is better")
    # Few different scores, so that ties reach across parts.
    drawn = st.lists(st.integers(-2, 2), min_size=documents * queries, max_size=documents * queries)
    scores = np.array(data.draw(drawn)).reshape(queries, documents)
    # The direction does not follow from the dtype: whole numbers may be products, and floats distances.
    scores = scores.astype(data.draw(st.sampled_from([np.float64, np.int32]), "dtype"))
    exclude = np.array(data.draw(st.lists(st.integers(-1, documents), min_size=queries, max_size=queries)))
    k = data.draw(st.integers(1, documents + 1), "k")
    edges = sorted({0, documents, *data.draw(st.lists(st.integers(0, documents), max_size=5), "edges")})
    parts = [list(range(a, b)) for a, b in itertools.pairwise(edges)]
    parts = data.draw(st.permutations(parts), "order")
    expected = oracle(scores, k, exclude, larger_is_better)
    found = (part_of(scores, rows, wanted_of(len(rows), k, exclude), larger_is_better) for rows in parts)
    if any(len(row) < k for row in expected):
        with pytest.raises(InvalidInput, match=f"k is {k} but some query has fewer documents to search"):
            merged(found, k, exclude)
        return
    result = merged(found, k, exclude)
    assert result.rows.tolist() == [[at for at, _ in row] for row in expected]
    assert result.scores.tolist() == [[score for _, score in row] for row in expected]
    assert result.rows.dtype == np.int64
    assert result.scores.dtype == scores.dtype
    assert result.larger_is_better == larger_is_better


@pytest.mark.parametrize("step", [1, 7, 64, 90, 1000])
@pytest.mark.parametrize("kind", ["inner product", "hamming"])
def test_parts_of_real_searches_are_byte_identical_to_the_whole(kind: str, step: int) -> None:
    random = np.random.RandomState(3)
    documents: Any = random.standard_normal((400, 8)).astype(np.float16)
    documents[200:300] = documents[100:200]  # ties across parts
    queries: Any = np.concatenate([documents[150:160], random.standard_normal((6, 8)).astype(np.float16)])
    exclude = np.array([*range(150, 155), *range(250, 255), *[-1] * 6])
    k = 60
    if kind == "hamming":
        documents, queries = (np.packbits(v > 0, axis=1) for v in (documents, queries))

    def start(wanted: int, left_out: NDArray[np.int64] | None = None) -> TopK:
        return (HammingTopK if kind == "hamming" else InnerProductTopK)(queries, wanted, left_out)

    def found(first: int) -> Neighbours:
        block = documents[first : first + step]
        top = start(wanted_of(len(block), k, exclude))
        top.update(block, first)
        return top.result()

    whole = start(k, exclude)
    whole.update(documents, 0)
    expected, result = whole.result(), merged(map(found, range(0, 400, step)), k, exclude)
    assert result.rows.tobytes() == expected.rows.tobytes()
    assert result.scores.tobytes() == expected.scores.tobytes()
    assert result.scores.dtype == expected.scores.dtype
    assert result.larger_is_better == expected.larger_is_better == (kind == "inner product")


def test_distances_and_products_are_not_merged() -> None:
    rows, scores = np.array([[0]]), np.array([[1.0]])
    with pytest.raises(InvalidInput, match="ranked by distances and by products cannot be merged"):
        merged([Neighbours(rows, scores, True), Neighbours(rows + 1, scores, False)], 1)


def test_one_more_is_wanted_only_where_something_is_left_out() -> None:
    assert wanted_of(100, 10, None) == 10
    assert wanted_of(100, 10, np.array([-1, -1])) == 10
    assert wanted_of(100, 10, np.array([-1, 3])) == 11
    assert wanted_of(4, 10, np.array([-1, 3])) == 4


def test_nothing_to_merge_and_no_k_are_refused() -> None:
    with pytest.raises(InvalidInput, match="k is 2 but some query has fewer documents to search: lower k"):
        merged([], 2)
    with pytest.raises(InvalidInput, match="k is 0: ask for at least 1 neighbour"):
        merged([], 0)
    with pytest.raises(InvalidInput, match="k is 0: ask for at least 1 neighbour"):
        wanted_of(3, 0, None)
