"""k-means (Lloyd 1982) whose centroids are the same on every machine.

The rows are laid on a grid of whole numbers so coarse that every product, every partial sum and every score is a whole
number that the floating-point type holds exactly. Then no order of summation, no fused multiply-add, no thread and
no kernel of a BLAS can change a score, of equal scores the first centroid wins, and the assignment is exact. The
grid is finer than the codebooks' own type as far as the distances tell centroids apart: a row of median length
spans at least 64 lines of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.search.summation import sum_rows
from store.threads import in_threads, parts_of

POINTS_PER_CENTROID = 39
"""Fewer training points than this for each centroid make poor codebooks, as Faiss's own warning says."""

_BLOCK = 1 << 18  # scores computed at once: 1 MiB, which stays in the second-level cache
_MOST_ROWS = 8192  # of one part of the work of one thread
_WIDE = 16.0  # times the median length: with a longer row than this the grid needs float64


def k_means(
    vectors: NDArray[np.float32],
    centroids: int,
    iterations: int,
    seed: int,
    start: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Centroids (centroids, width) float32 of (rows, width) float32 rows, of which there are at least as many.

    iterations: at least 1. start: centroids to go on from; where it is None, as many rows drawn by `RandomState(seed)`.

    Each iteration gives every row to its nearest centroid and moves each centroid to the mean of its rows; one that has
    none moves to a row drawn with the squared distance from its own centroid as weight (Arthur & Vassilvitskii 2007).
    If a quarter of the rows, drawn by the seed, is enough to train on, the first half of the iterations uses that
    quarter alone: it brings the centroids almost to where they end, in a quarter of the time. The last means are those
    of the rows themselves, not of the grid.
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(vectors))
    grid = _Grid.of(vectors, vectors[:0] if start is None else start)
    current = grid.rows[order[:centroids]] if start is None else grid.placed(start)
    quarter = len(vectors) // 4
    first = iterations // 2 if start is None and quarter >= POINTS_PER_CENTROID * centroids else 0
    if first:
        current = grid.part(order[:quarter]).moved(current, first, random)[0]
    current, codes = grid.moved(current, iterations - first, random)
    counts = np.bincount(codes, minlength=centroids)[:, None]
    means = _sums(vectors.T, codes, centroids) / np.maximum(counts, 1)
    found = np.ldexp(current.astype(np.float64), -grid.exponent)
    return np.where(counts > 0, means, found).astype(np.float32)


@dataclass(frozen=True)
class _Grid:
    """Rows in whole numbers: 2^exponent times the vectors, rounded.

    extended: (rows, width + 1), the last column 1. columns: (width, rows), the same numbers.
    """

    extended: NDArray[Any]
    columns: NDArray[Any]
    exponent: int

    @property
    def rows(self) -> NDArray[Any]:
        return self.extended[:, :-1]

    def part(self, rows: NDArray[np.intp]) -> _Grid:
        return _Grid(self.extended[rows], self.columns[:, rows], self.exponent)

    def moved(
        self, centroids: NDArray[Any], iterations: int, random: np.random.RandomState
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """The centroids after so many iterations, at least one, and the code of each row in the last of them."""
        for _ in range(iterations):
            codes = self.assign(centroids)
            counts = np.bincount(codes, minlength=len(centroids))
            means = _sums(self.columns, codes, len(centroids)) / np.maximum(counts, 1)[:, None]
            after = np.where(counts[:, None] > 0, np.rint(means), centroids)
            empty = np.flatnonzero(counts == 0)
            if len(empty):
                weight = np.cumsum(self.distances(codes, centroids))
                if weight[-1] > 0:
                    drawn = random.random_sample(len(empty)) * weight[-1]
                    after[empty] = self.rows[np.searchsorted(weight, drawn, side="right")]
            centroids = after.astype(self.extended.dtype)
        return centroids, codes

    @classmethod
    def of(cls, vectors: NDArray[np.float32], start: NDArray[np.float32]) -> _Grid:
        """Made for these rows and for centroids to start from; in float32, unless few long rows would leave the others
        too few grid lines.

        With rows and centroids no longer than L, 2 x c and |c|^2 and what any part of their sums adds up to are at
        most 3 L^2, which the type must hold: 2^24 or 2^53. A centroid is a mean rounded to the grid, so it is
        longer than the longest row by at most half the square root of the width; so is a rounded row.
        """
        width = vectors.shape[1]
        lengths = _lengths(vectors)
        longest = float(max(lengths.max(), _lengths(start).max(initial=0.0)))
        wide = longest > _WIDE * float(np.median(lengths))
        limit = math.sqrt((2.0**53 if wide else 2.0**24) / 3) - math.sqrt(width) - 1
        exponent = math.frexp(limit / longest)[1] - 1 if longest > 0 else 0
        extended = np.ones((len(vectors), width + 1), np.float64 if wide else np.float32)
        grid = cls(extended, np.empty((width, len(vectors)), extended.dtype), exponent)
        grid.rows[:] = grid.placed(vectors)
        grid.columns[:] = grid.rows.T
        return grid

    def placed(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Vectors in whole numbers."""
        numbers: NDArray[Any] = np.rint(np.ldexp(vectors, self.exponent, dtype=self.extended.dtype))
        return numbers

    def assign(self, centroids: NDArray[Any]) -> NDArray[np.intp]:
        """The nearest centroid of each row: the greatest 2 x c - |c|^2, of equal ones the first."""
        squares = np.square(centroids).sum(axis=1, keepdims=True)
        weights = np.ascontiguousarray(np.concatenate([2 * centroids, -squares], axis=1).T)
        codes = np.empty(len(self.rows), np.intp)
        step = max(1, _BLOCK // len(centroids))

        def part(rows: slice) -> None:
            scores = np.empty((step, len(centroids)), self.extended.dtype)
            for start in range(rows.start, rows.stop, step):
                block = slice(start, min(start + step, rows.stop))
                found = scores[: block.stop - start]
                np.matmul(self.extended[block], weights, out=found)
                found.argmax(axis=1, out=codes[block])

        in_threads(part, parts_of(len(codes), _MOST_ROWS))
        return codes

    def distances(self, codes: NDArray[np.intp], centroids: NDArray[Any]) -> NDArray[np.float64]:
        """Squared distance of each row from its centroid."""
        found = np.empty(len(codes))
        for start in range(0, len(codes), _MOST_ROWS):
            block = slice(start, start + _MOST_ROWS)
            difference = self.rows[block].astype(np.float64) - centroids[codes[block]]
            found[block] = sum_rows(np.square(difference))
        return found


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    blocks = range(0, len(vectors), _MOST_ROWS)
    squares = [np.square(vectors[at : at + _MOST_ROWS], dtype=np.float64) for at in blocks]
    return np.asarray(np.sqrt(np.concatenate([np.empty(0), *map(sum_rows, squares)])))


def _sums(columns: NDArray[Any], codes: NDArray[np.intp], centroids: int) -> NDArray[np.float64]:
    """(centroids, width) float64: of (width, rows), the sum of the rows of each code, added in their order."""
    return np.stack([np.bincount(codes, column, minlength=centroids) for column in columns], axis=1)
