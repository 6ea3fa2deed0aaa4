"""Predicted quality against Phase-1 codes themselves, on clouds whose neighbours differ in kind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.quality.per_query import Judgements
from analysis.theory import prediction
from analysis.theory.prediction import Cut, predict
from store.codecs.phase1 import encode, hamming_top_k
from store.errors import InvalidInput
from store.libraries import openmp_threads
from store.threads import parts_of
from tests.oracles.theory import found_probability

Vectors = NDArray[np.floating[Any]]

DIMENSION = 48
DOCUMENTS, QUERIES = 500, 40
BITS = (64, 256)
CUTS = (Cut(5, 5), Cut(10, 10), Cut(20, 20), Cut(100, 100), Cut(10, 50))
SEEDS = 24
ROWS = 7 + 12 * np.arange(QUERIES)
"""Of the documents of the queries: among all others, as ties go to the smaller row."""


def isotropic(draw: np.random.RandomState) -> tuple[Vectors, Vectors]:
    return draw.standard_normal((DOCUMENTS, DIMENSION)), draw.standard_normal((QUERIES, DIMENSION))


def cone(draw: np.random.RandomState) -> tuple[Vectors, Vectors]:
    """Mean cosine .84, as of models that are called collapsed."""
    axis = np.zeros(DIMENSION)
    axis[0] = np.sqrt(0.84 / 0.16 * DIMENSION)
    documents, queries = isotropic(draw)
    return documents + axis, queries + axis


def clusters(draw: np.random.RandomState) -> tuple[Vectors, Vectors]:
    """Twenty of 25 documents; a query lies in one of them."""
    centres = draw.standard_normal((20, DIMENSION))
    documents, queries = isotropic(draw)
    of = np.arange(DOCUMENTS) % 20
    return centres[of] + 0.5 * documents, centres[np.arange(QUERIES) % 20] + 0.5 * queries


def spectrum(draw: np.random.RandomState) -> tuple[Vectors, Vectors]:
    """Variances that fall as those of embeddings do, and queries near a document."""
    scale = np.geomspace(1, 0.05, DIMENSION)
    documents = draw.standard_normal((DOCUMENTS, DIMENSION)) * scale
    return documents, documents[ROWS] + 0.7 * draw.standard_normal((QUERIES, DIMENSION)) * scale


CLOUDS = (isotropic, cone, clusters, spectrum)


def judged() -> Judgements:
    """A document for each query, and for every other query one more."""
    query = np.concatenate([np.arange(QUERIES), np.arange(0, QUERIES, 2)])
    document = np.concatenate([ROWS, ROWS[::2] + 5])
    return Judgements.sorted(query, document, np.ones(len(query), int), QUERIES)


def measured(documents: Vectors, queries: Vectors, seeds: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean Overlap and Recall of codes, (bits, cut) each."""
    documents, queries = documents.astype(np.float32), queries.astype(np.float32)
    cosines = queries.astype(float) @ documents.astype(float).T
    cosines /= np.linalg.norm(documents.astype(float), axis=1)
    exact = np.argsort(-cosines, axis=1, kind="stable")
    judgements = judged()
    overlap, recall = np.zeros((2, len(BITS), len(CUTS)))
    for seed in range(seeds):
        for b, length in enumerate(BITS):
            codes = encode(documents, length, seed), encode(queries, length, seed)
            found = hamming_top_k(codes[1], codes[0], max(cut.depth for cut in CUTS))[1]
            for c, cut in enumerate(CUTS):
                first = found[:, : cut.depth]
                overlap[b, c] += np.mean(
                    [np.isin(exact[q, : cut.k], first[q]).mean() for q in range(QUERIES)]
                )
                hit = (first[judgements.query] == judgements.document[:, None]).any(axis=1)
                recall[b, c] += np.mean(
                    np.bincount(judgements.query, hit, QUERIES) / judgements.relevant_counts()
                )
    return overlap / seeds, recall / seeds


@pytest.mark.parametrize("cloud", CLOUDS)
def test_prediction_is_what_codes_reach(
    cloud: Callable[[np.random.RandomState], tuple[Vectors, Vectors]],
) -> None:
    documents, queries = cloud(np.random.RandomState(0))
    overlap, recall = measured(documents, queries, SEEDS)
    found = predict(documents.astype(np.float32), queries.astype(np.float32), BITS, CUTS, judged())
    assert found.recall is not None
    # A mean over 40 queries and 24 seeds is itself off by up to .01.
    np.testing.assert_allclose(found.overlap.mean(axis=2), overlap, atol=0.02)
    np.testing.assert_allclose(found.recall.mean(axis=2), recall, atol=0.03)


def small() -> tuple[Vectors, Vectors]:
    draw = np.random.RandomState(3)
    return draw.standard_normal((60, 16)), draw.standard_normal((7, 16))


@pytest.mark.parametrize(("bits", "cut"), [(16, Cut(1, 1)), (64, Cut(5, 12)), (512, Cut(50, 59))])
def test_prediction_is_the_closed_form(bits: int, cut: Cut) -> None:
    documents, queries = small()
    relevant = Judgements.sorted(np.repeat(np.arange(7), 2), [0, 59] * 7, np.ones(14, int), 7)
    found = predict(documents, queries, (bits,), (cut,), relevant)
    assert found.recall is not None
    for row, query in enumerate(queries):
        probability, order = found_probability(
            documents.astype(np.float64), query.astype(np.float64), bits, cut.depth
        )
        assert found.overlap[0, 0, row] == pytest.approx(probability[order[: cut.k]].mean(), rel=5e-6)
        assert found.recall[0, 0, row] == pytest.approx(probability[[0, 59]].mean(), rel=5e-6)


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, queries = small()
    whole = predict(documents, queries, (64,), (Cut(3, 3),)).overlap
    monkeypatch.setattr(prediction, "_COSINES", 2 * len(documents))
    monkeypatch.setattr(prediction, "row_blocks", lambda rows, width: parts_of(rows, 7))
    np.testing.assert_array_equal(predict(documents, queries, (64,), (Cut(3, 3),)).overlap, whole)


def test_groups_of_documents_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.RandomState(5)
    documents, queries = draw.standard_normal((3000, 24)), draw.standard_normal((8, 24))
    cuts = (Cut(1, 1), Cut(10, 10), Cut(10, 100))
    grouped = predict(documents, queries, (64, 512), cuts).overlap
    monkeypatch.setattr(prediction, "_STRATA", 1 << 20)
    every = predict(documents, queries, (64, 512), cuts).overlap
    np.testing.assert_allclose(every, grouped, atol=5e-4)
    np.testing.assert_allclose(every.mean(axis=2), grouped.mean(axis=2), atol=2e-4)


def test_memory_is_that_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = np.random.RandomState(6).standard_normal((40_000, 384)).astype(np.float16)
    monkeypatch.setattr(prediction, "_COSINES", 1 << 16)
    with openmp_threads(1):
        predict(documents[:100], documents[:1], (64,), (Cut(10, 10),))  # what is imported by the way
        tracemalloc.start()
        predict(documents, documents[:3], (64, 512), (Cut(10, 10), Cut(10, 100)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 60e6  # in float64 the documents are 123 MB


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_only_directions_count(dtype: type[np.floating[Any]]) -> None:
    documents, queries = (side.astype(dtype) for side in small())
    lengths = np.array([[0.5], [1.0], [2.0], [4.0]] * 15, dtype)
    expected = predict(documents, queries, (64,), (Cut(3, 3),)).overlap
    np.testing.assert_array_equal(
        predict(documents * lengths, queries, (64,), (Cut(3, 3),)).overlap, expected
    )


def test_more_bits_and_more_depth_find_more() -> None:
    documents, queries = small()
    found = predict(documents, queries, (16, 64, 256), (Cut(5, 5), Cut(5, 10), Cut(5, 40))).overlap
    assert (np.diff(found, axis=0) > 0).all()
    assert (np.diff(found, axis=1) > 0).all()


def test_all_documents_are_all_found() -> None:
    documents, queries = small()
    relevant = Judgements.sorted(np.arange(7), np.arange(7), np.ones(7, int), 7)
    found = predict(documents, queries, (64,), (Cut(60, 60), Cut(3, 200)), relevant)
    np.testing.assert_array_equal(found.overlap, 1.0)
    np.testing.assert_array_equal(found.recall, np.ones((1, 2, 7)))


@pytest.mark.parametrize("k", range(1, 60, 7))
def test_every_k_has_a_share(k: int) -> None:
    documents, queries = small()
    found = predict(documents, queries, (8,), (Cut(k, k),)).overlap
    assert ((found > 0) & (found < 1)).all()


def test_copies_share_what_is_left_by_chance() -> None:
    """All documents alike and no angle between them: what is found is drawn, k of n."""
    documents = np.ones((20, 4))
    found = predict(
        documents, np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]), (64,), (Cut(5, 5),)
    ).overlap
    np.testing.assert_allclose(found, 0.25, atol=1e-6)


def test_an_excluded_row_is_as_if_it_were_not_there() -> None:
    documents, queries = small()
    without = predict(np.delete(documents, 5, axis=0), queries, (64,), (Cut(4, 4),)).overlap
    relevant = Judgements.sorted([0, 0, 1, 2, 3, 4, 5, 6], [5, 6, 5, 5, 5, 5, 5, 5], np.ones(8, int), 7)
    found = predict(documents, queries, (64,), (Cut(4, 4),), relevant, np.full(7, 5))
    np.testing.assert_array_equal(found.overlap, without)
    assert found.recall is not None
    assert 0 < found.recall[0, 0, 0] < 0.5
    np.testing.assert_array_equal(found.recall[0, 0, 1:], 0.0)


def refused() -> list[tuple[dict[str, Any], str]]:
    documents, queries = small()
    bad, zero = documents.copy(), documents.copy()
    bad[7, 3], zero[9] = np.nan, 0
    excluded = np.array([0, -1, -1, -1, -1, -1, -1])
    few = Judgements.sorted([0], [0], [1], 1)
    unknown = Judgements.sorted(np.arange(7), np.full(7, 60), np.ones(7, int), 7)
    return [
        ({"cuts": (Cut(61, 61),)}, "k is 61 but some query has 60 documents"),
        ({"cuts": (Cut(60, 60),), "exclude": excluded}, "k is 60 but some query has 59 documents"),
        ({"documents": bad}, "documents row 7 is not finite"),
        ({"documents": zero}, "documents row 9 is not finite or is all zero"),
        ({"documents": documents.astype(int)}, "documents have shape"),
        ({"queries": queries[:0]}, "queries are empty"),
        ({"queries": queries[:, :8]}, "queries have 8 dimensions, documents 16"),
        ({"bits": (0,)}, "at least 1 bit, got 0"),
        ({"judgements": few}, "judgements are of 1 queries, but 7 are given"),
        ({"judgements": unknown}, "row 60 is judged, but there are 60 documents"),
    ]


@pytest.mark.parametrize(("change", "message"), refused())
def test_what_cannot_be_predicted_is_refused(change: dict[str, Any], message: str) -> None:
    documents, queries = small()
    given = {"documents": documents, "queries": queries, "bits": (64,), "cuts": (Cut(3, 3),), **change}
    with pytest.raises(InvalidInput, match=message):
        predict(**given)


@pytest.mark.parametrize(("k", "depth"), [(0, 5), (6, 5)])
def test_a_cut_that_is_none_is_refused(k: int, depth: int) -> None:
    with pytest.raises(InvalidInput, match=f"k is {k} and depth {depth}"):
        Cut(k, depth)
