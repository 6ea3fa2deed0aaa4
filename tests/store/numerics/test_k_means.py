"""k-means against plain loops over whole numbers and against Faiss."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.numerics.k_means import k_means
from tests.oracles.k_means import lloyd


def oracle(rows: NDArray[np.int64], centroids: int, iterations: int, seed: int) -> NDArray[np.float32]:
    random = np.random.RandomState(seed)
    start = rows[random.permutation(len(rows))[:centroids]].tolist()
    # Whole numbers lie on the grid, so before the last step rounded means are what the next iteration starts from.
    scale = 2 ** grid_exponent(rows)
    last, codes = lloyd((rows * scale).tolist(), [[scale * x for x in c] for c in start], iterations, random)
    found = np.array(last, np.float64) / scale
    for c in range(centroids):
        members = [row for row, code in zip(rows.tolist(), codes, strict=True) if code == c]
        if members:
            found[c] = np.array(members, np.float64).sum(axis=0) / len(members)
    return np.asarray(found, np.float32)


def grid_exponent(rows: NDArray[np.int64]) -> int:
    longest = float(np.sqrt(np.square(rows.astype(np.float64)).sum(axis=1).max()))
    limit = np.sqrt(2.0**24 / 3) - np.sqrt(rows.shape[1]) - 1
    return int(np.frexp(limit / longest)[1] - 1) if longest else 0


@settings(max_examples=30)
@given(st.data(), st.integers(1, 3), st.integers(1, 4), st.integers(2, 6))
def test_centroids_are_those_of_plain_loops(
    data: st.DataObject, width: int, iterations: int, centroids: int
) -> None:
    number = st.integers(-9, 9)
    rows = np.array(
        data.draw(st.lists(st.tuples(*[number] * width), min_size=centroids, max_size=25)), np.int64
    )
    lengths = np.sqrt(np.square(rows).sum(axis=1))
    if lengths.max() > 16 * np.median(lengths):  # another grid
        return
    found = k_means(rows.astype(np.float32), centroids, iterations, seed=3)
    assert found.tolist() == oracle(rows, centroids, iterations, seed=3).tolist()


def mean_square_error(rows: NDArray[np.float32], centroids: NDArray[np.float32]) -> float:
    distances, _ = faiss.knn(rows, centroids, 1)
    return float(distances.mean(dtype=np.float64))


def faiss_centroids(rows: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
    means = faiss.Clustering(rows.shape[1], 256)
    means.niter, means.min_points_per_centroid, means.max_points_per_centroid = iterations, 1, len(rows)
    means.train(rows, faiss.IndexFlatL2(rows.shape[1]))
    return np.asarray(faiss.vector_to_array(means.centroids).reshape(256, -1), dtype=np.float32)


@pytest.mark.parametrize(("rows", "width"), [(600, 48), (5000, 12), (41_000, 4)])
def test_the_error_is_that_of_faiss(rows: int, width: int) -> None:
    """Local optima differ by a few thousandths; of 41,000 rows a quarter is trained on first."""
    drawn = np.random.RandomState(0).standard_normal((rows, width)) * np.linspace(1, 0.2, width) + 0.5
    sample = drawn.astype(np.float32)
    ours = mean_square_error(sample, k_means(sample, 256, 15, seed=0))
    assert ours < 1.01 * mean_square_error(sample, faiss_centroids(sample, 15))


def test_a_row_far_from_all_others_leaves_them_their_centroids() -> None:
    """On a grid of float32 that reaches the long row all others would be one point."""
    sample = np.random.RandomState(1).standard_normal((2000, 8)).astype(np.float32)
    alone = mean_square_error(sample, k_means(sample, 256, 10, seed=0))
    sample[7] = 1e5
    with_it = k_means(sample, 256, 10, seed=0)
    assert mean_square_error(np.delete(sample, 7, axis=0), with_it) < 1.05 * alone


def test_the_scale_of_the_rows_does_not_matter() -> None:
    sample = np.random.RandomState(2).standard_normal((700, 6)).astype(np.float32)
    base = k_means(sample, 256, 5, seed=0)
    for exponent in (-100, 60):
        assert (k_means(np.ldexp(sample, exponent), 256, 5, seed=0) == np.ldexp(base, exponent)).all()


def test_going_on_from_centroids_is_more_iterations() -> None:
    sample = np.random.RandomState(3).randint(-200, 200, (900, 5)).astype(np.float32)
    first = k_means(sample, 256, 3, seed=0)
    further = k_means(sample, 256, 4, seed=0, start=first)
    assert mean_square_error(sample, further) < mean_square_error(sample, first)
    assert (further != k_means(sample, 256, 4, seed=0)).any()


def test_long_centroids_to_start_from_do_not_break_the_grid() -> None:
    sample = np.random.RandomState(4).standard_normal((600, 5)).astype(np.float32)
    start = sample[:256] * np.float32(1000)
    assert np.isfinite(k_means(sample, 256, 4, seed=0, start=start)).all()


def test_rows_that_are_all_equal() -> None:
    sample = np.full((300, 4), 0.25, np.float32)
    assert (k_means(sample, 256, 3, seed=0) == sample[:256]).all()
    assert not k_means(np.zeros((300, 4), np.float32), 256, 3, seed=0).any()
