"""Re-scoring: second-stage scores of the first stage's candidates, and the ranking they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.codecs.int8 import Int8Codec
from store.errors import InvalidInput
from store.search.inner_product import InnerProductTopK
from store.search.rescoring import Rescorer, rescored
from tests.oracles.search import exact_score, folded_score, inner_product_rows, ranked
from tests.store.codecs.codec_contract import same, vectors


def drawn_candidates(queries: int, count: int, documents: int, seed: int) -> NDArray[np.int64]:
    draw = np.random.RandomState(seed)
    return np.array([draw.permutation(documents)[:count] for _ in range(queries)])


def scored(queries: Any, documents: Any, candidates: NDArray[np.int64], step: int) -> NDArray[np.float64]:
    rescorer = Rescorer(queries, candidates)
    for at in reversed(range(0, len(documents), step)):
        rescorer.update(documents[at : at + step], at)
    return rescorer.result()


@pytest.mark.parametrize("step", [1, 7, 50, 200])
def test_scores_are_exact_for_stored_vectors(step: int) -> None:
    queries, documents = vectors(5, seed=1), vectors(50, seed=2)
    candidates = drawn_candidates(5, 12, 50, seed=3)
    found = scored(queries, documents, candidates, step)
    for i, row in enumerate(candidates):
        assert found[i].tolist() == [exact_score(queries[i], documents[j]) for j in row]


def test_scores_of_float32_vectors_are_added_in_the_declared_order() -> None:
    draw = np.random.RandomState(4)
    queries, documents = (draw.standard_normal((n, 23)).astype(np.float32) for n in (4, 30))
    candidates = drawn_candidates(4, 9, 30, seed=5)
    found = scored(queries, documents, candidates, 8)
    for i, row in enumerate(candidates):
        assert found[i].tolist() == [folded_score(queries[i], documents[j]) for j in row]


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_scores_are_those_of_the_search(kind: str) -> None:
    queries, documents = vectors(6, seed=6), vectors(300, seed=7)
    second: Any = documents
    if kind == "int8":
        state = Int8Codec().fit(documents)
        second = Int8Codec().decode(state, Int8Codec().encode(state, documents))
    top = InnerProductTopK(queries, 20)
    top.update(second, 0)
    neighbours = top.result()
    assert same(scored(queries, second, neighbours.rows, 64), neighbours.scores)


def test_many_pairs_are_scored_in_blocks() -> None:
    queries, documents = vectors(40, seed=8, dimension=96), vectors(400, seed=9, dimension=96)
    candidates = drawn_candidates(
        40, 300, 400, seed=10
    )  # 12,000 pairs: more than a block of 2^20 coordinates
    products = queries.astype(np.float64) @ documents.astype(np.float64).T
    assert (
        scored(queries, documents, candidates, 400).tolist()
        == np.take_along_axis(products, candidates, 1).tolist()
    )


def test_a_score_is_never_minus_zero() -> None:
    queries, documents = np.array([[-1, 0]], np.float16), np.array([[0, 1]], np.float16)
    assert not np.signbit(scored(queries, documents, np.zeros((1, 1), np.int64), 1)).any()


SCORES = st.integers(-3, 3).map(float)


@settings(max_examples=100)
@given(st.data(), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4))
def test_ranking_is_that_of_plain_sorting(data: st.DataObject, count: int, k: int, oversample: int) -> None:
    k = min(k, count)
    candidates = drawn_candidates(3, count, 20, seed=data.draw(st.integers(0, 99)))
    scores = np.array(
        data.draw(st.lists(st.lists(SCORES, min_size=count, max_size=count), min_size=3, max_size=3))
    )
    found = rescored(candidates, scores, k, oversample).rows
    assert found.shape == (3, k)
    for rows, given_rows, given_scores in zip(found, candidates, scores, strict=True):
        first = sorted(
            zip(given_rows[: k * oversample], given_scores[: k * oversample], strict=True),
            key=lambda pair: (-pair[1], pair[0]),
        )
        assert rows.tolist() == [row for row, _ in first[:k]]


def test_every_document_as_candidate_gives_the_exact_neighbours() -> None:
    queries, documents = vectors(5, seed=11), vectors(60, seed=12)
    candidates = drawn_candidates(5, 60, 60, seed=13)
    scores = scored(queries, documents, candidates, 16)
    for k in (1, 10, 60):
        assert same(rescored(candidates, scores, k, 60).rows, inner_product_rows(queries, documents, k))


def test_oversample_one_only_reorders_the_first_stage() -> None:
    queries, documents = vectors(5, seed=14), vectors(60, seed=15)
    candidates = drawn_candidates(5, 40, 60, seed=16)
    scores = scored(queries, documents, candidates, 60)
    for k in (1, 7, 40):
        assert (
            np.sort(rescored(candidates, scores, k, 1).rows).tolist() == np.sort(candidates[:, :k]).tolist()
        )


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_found_neighbours_stay_found_as_more_candidates_come(seed: int, k: int) -> None:
    """A true neighbour of the second stage is beaten by fewer than k documents, however many are compared."""
    draw = np.random.RandomState(seed)
    truth = draw.randint(0, 5, (2, 30)).astype(np.float64)
    candidates = drawn_candidates(2, 30, 30, seed=seed)
    scores = np.take_along_axis(truth, candidates, axis=1)
    true_rows = [set(ranked(row.tolist(), k)) for row in truth]
    before: list[set[int]] = [set(), set()]
    for oversample in range(1, 31):
        found = rescored(candidates, scores, k, oversample).rows
        kept = [set(rows.tolist()) & true for rows, true in zip(found, true_rows, strict=True)]
        assert all(old <= new for old, new in zip(before, kept, strict=True))
        before = kept
    assert before == true_rows


def test_bad_input_is_refused() -> None:
    queries, rows = vectors(2, seed=1), np.array([[0, 1], [1, 2]])
    with pytest.raises(InvalidInput, match=r"candidates have shape \(3, 2\) .* for each of the 2 queries"):
        Rescorer(queries, np.zeros((3, 2), np.int64))
    with pytest.raises(InvalidInput, match=r"candidates have shape \(2, 0\)"):
        Rescorer(queries, np.zeros((2, 0), np.int64))
    with pytest.raises(
        InvalidInput, match="dtype float64: give at least one row of a document, as an integer"
    ):
        Rescorer(queries, rows.astype(np.float64))
    with pytest.raises(InvalidInput, match="candidates hold a negative row"):
        Rescorer(queries, rows - 1)
    with pytest.raises(InvalidInput, match="candidates of query 1 hold a row twice: give each once"):
        Rescorer(queries, np.array([[0, 1], [3, 3]]))
    with pytest.raises(InvalidInput, match="float64"):
        Rescorer(queries.astype(np.float64), rows)  # type: ignore[arg-type]
    rescorer = Rescorer(queries, rows)
    with pytest.raises(
        InvalidInput, match="documents have dimension 23 and the queries 24: re-score with vectors"
    ):
        rescorer.update(vectors(3, seed=2)[:, 1:], 0)
    with pytest.raises(InvalidInput, match="row 1 holds NaN"):
        rescorer.update(np.array([[0.0] * 24, [np.nan] * 24], np.float16), 0)
    rescorer.update(vectors(2, seed=2), 0)
    with pytest.raises(InvalidInput, match="candidates: document row 2 is in no block; give every block"):
        rescorer.result()


def test_bad_cuts_are_refused() -> None:
    rows, scores = np.array([[4, 2]]), np.array([[0.0, 1.0]])
    with pytest.raises(
        InvalidInput, match=r"scores have shape \(1, 1\): give one for each of \(1, 2\) candidates"
    ):
        rescored(rows, scores[:, :1], 1, 1)
    for k in (0, 3):
        with pytest.raises(InvalidInput, match=f"k is {k}: give 1 … 2, the number of candidates"):
            rescored(rows, scores, k, 1)
    with pytest.raises(InvalidInput, match="oversample is 0: give at least 1"):
        rescored(rows, scores, 1, 0)
