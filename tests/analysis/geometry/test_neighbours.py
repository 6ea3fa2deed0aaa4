"""Neighbour lists against sorting, dimensions against scikit-dimension, hubness against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import skew

from analysis.geometry.intervals import row_groups
from analysis.geometry.neighbours import (
    hubness,
    mle_dimension,
    nearest_rows,
    neighbour_replicates,
    query_hubness_replicates,
    skewness,
    two_nn,
)
from tests.oracles import geometry as oracle

Array = NDArray[np.float64]


def gaussian(seed: int, n: int, d: int) -> Array:
    """Standard normal rows."""
    return np.random.RandomState(seed).standard_normal((n, d))


@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 8))
def test_lists_equal_sorting_all_distances(seed: int, same: bool, depth: int) -> None:
    rows = gaussian(seed, 17, 3)
    rows[5], rows[9] = rows[2], rows[2]
    points = rows if same else gaussian(seed + 1, 6, 3)
    found = nearest_rows(points, rows, depth, same=same)
    expected_rows, expected_distances = oracle.neighbour_lists(points, rows, depth, same=same)
    np.testing.assert_allclose(found.distances, expected_distances, rtol=1e-9)
    # Copies tie, and which of the tied stands at the end of a list is not defined.
    np.testing.assert_array_equal(np.sort(rows[found.rows], axis=0), np.sort(rows[expected_rows], axis=0))


def test_ties_go_to_the_smaller_row() -> None:
    rows = np.repeat(np.eye(3), 4, axis=0)
    found = nearest_rows(np.eye(3), rows, 6, same=False)
    assert found.rows.tolist() == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 0, 1], [8, 9, 10, 11, 0, 1]]


def test_lists_cross_block_borders() -> None:
    rows = gaussian(0, 1100, 4)
    found = nearest_rows(rows, rows, 3, same=True)
    expected_rows, expected_distances = oracle.neighbour_lists(rows[1000:1020], rows, 4, same=False)
    np.testing.assert_array_equal(found.rows[1000:1020], expected_rows[:, 1:])
    np.testing.assert_allclose(found.distances[1000:1020], expected_distances[:, 1:], rtol=1e-10)


def test_distances_survive_cancellation() -> None:
    rows = np.ones((4, 8)) * 100.0
    rows[1, 0] += 1e-9
    rows[2, 0] += 1e-3
    distances = nearest_rows(rows, rows, 3, same=True).distances[0]
    assert distances[0] == 0.0
    np.testing.assert_allclose(distances[1:], [1e-9, 1e-3], rtol=1e-4)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_lists_without_a_group_equal_lists_of_the_rest(seed: int, k: int) -> None:
    rows, group = gaussian(seed, 20, 3), row_groups(20, 4)
    lists = nearest_rows(rows, rows, k + 5, same=True)
    for g in range(4):
        kept = group != g
        found = lists.without(k, kept, kept)
        alone = nearest_rows(rows[kept], rows[kept], k, same=True)
        np.testing.assert_allclose(found.distances, alone.distances, rtol=1e-9)
        np.testing.assert_array_equal(found.rows, np.flatnonzero(kept)[alone.rows])


@pytest.mark.parametrize("d", [2, 5, 40])
def test_twonn_equals_scikit_dimension(d: int) -> None:
    from skdim.id import TwoNN

    vectors = gaussian(d, 300, d)
    distances = nearest_rows(vectors, vectors, 2, same=True).distances
    expected = TwoNN(discard_fraction=0.1).fit(vectors).dimension_
    assert two_nn(distances, 0.1) == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Dropping")
def test_twonn_with_copies_equals_scikit_dimension() -> None:
    from skdim.id import TwoNN

    vectors = gaussian(1, 200, 4)
    vectors[20:40] = vectors[40:60]
    distances = nearest_rows(vectors, vectors, 2, same=True).distances
    expected = TwoNN(discard_fraction=0.2).fit(vectors).dimension_
    assert two_nn(distances, 0.2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("d", "k"), [(2, 20), (5, 10), (40, 20)])
def test_mle_equals_scikit_dimension(d: int, k: int) -> None:
    from skdim.id import MLE

    vectors = gaussian(d, 300, d)
    distances = nearest_rows(vectors, vectors, k, same=True).distances
    assert mle_dimension(distances, k) == pytest.approx(
        MLE().fit(vectors, n_neighbors=k).dimension_, rel=1e-6
    )


@pytest.mark.parametrize("d", [1, 2, 4])
def test_flat_manifolds_have_their_own_dimension(d: int) -> None:
    """Uniform points on a torus turned into 12 dimensions: no border bends the estimate."""
    random = np.random.RandomState(0)
    angles = random.uniform(0, 2 * np.pi, (3000, d))
    torus = np.hstack([np.cos(angles), np.sin(angles)])
    vectors = torus @ np.linalg.qr(random.standard_normal((12, 12)))[0][: 2 * d]
    distances = nearest_rows(vectors, vectors, 20, same=True).distances
    assert two_nn(distances, 0.1) == pytest.approx(d, rel=0.1)
    assert mle_dimension(distances, 20) == pytest.approx(d, rel=0.12)


def test_points_with_copies_are_left_out_and_only_copies_are_undefined() -> None:
    distances = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 4.0], [1.0, 3.0, 9.0], [1.0, 2.0, 5.0]])
    assert mle_dimension(distances, 3) == mle_dimension(distances[1:], 3)
    assert two_nn(distances, 0.1) == two_nn(distances[1:], 0.1)
    assert np.isnan([mle_dimension(distances[:1], 3), two_nn(distances[:1], 0.1)]).all()


def test_equal_radii_have_no_dimension() -> None:
    assert np.isnan([mle_dimension(np.ones((9, 4)), 4), two_nn(np.ones((9, 4)), 0.1)]).all()


@given(st.lists(st.integers(0, 50), min_size=3, max_size=40).filter(lambda counts: len(set(counts)) > 1))
def test_skewness_equals_scipy(counts: list[int]) -> None:
    assert skewness(np.array(counts)) == pytest.approx(skew(counts), rel=1e-9, abs=1e-9)


def test_equal_counts_are_no_hubs() -> None:
    assert skewness(np.full(7, 3)) == 0.0


def test_a_planted_hub_is_seen() -> None:
    """On a sphere around one centre the centre is everyone's nearest row: N = (n − 1, then near 0)."""
    sphere = gaussian(0, 200, 64)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    rows = np.vstack([np.zeros(64), sphere])
    lists = nearest_rows(rows, rows, 1, same=True)
    counts = np.bincount(lists.rows[:, 0], minlength=201)
    assert counts[0] == 200
    assert hubness(lists.rows, np.ones(201, bool)) == pytest.approx(skew(counts))
    assert skew(counts) > 10


def test_hubness_counts_only_the_first_k_and_only_kept_rows() -> None:
    vectors, group = gaussian(0, 60, 5), row_groups(60, 3)
    replicates = neighbour_replicates(vectors, group, 3, hubness_k=4, mle_neighbours=7, twonn_discard=0.1)
    for kept, found in [(group >= 0, replicates.value)] + [
        (group != g, v) for g, v in enumerate(replicates.left_out[0])
    ]:
        rows, distances = oracle.neighbour_lists(vectors[kept], vectors[kept], 7, same=True)
        assert found["hubness"] == pytest.approx(skew(np.bincount(rows[:, :4].ravel(), minlength=kept.sum())))
        assert found["mle_dimension"] == pytest.approx(mle_dimension(distances, 7))
        assert found["twonn"] == pytest.approx(two_nn(distances, 0.1))


def test_query_hubness_leaves_out_documents_and_queries_in_turn() -> None:
    documents, queries = gaussian(0, 40, 5), gaussian(1, 21, 5)
    document_group, query_group = row_groups(40, 3), row_groups(21, 3)
    replicates = query_hubness_replicates(documents, queries, document_group, query_group, 3, 4)

    def expected(d: Array, q: Array) -> float:
        rows, _ = oracle.neighbour_lists(q, d, 4, same=False)
        return float(skew(np.bincount(rows.ravel(), minlength=len(d))))

    assert replicates.value["hubness"] == pytest.approx(expected(documents, queries))
    for g in range(3):
        without_documents, without_queries = (source[g]["hubness"] for source in replicates.left_out)
        assert without_documents == pytest.approx(expected(documents[document_group != g], queries))
        assert without_queries == pytest.approx(expected(documents, queries[query_group != g]))
