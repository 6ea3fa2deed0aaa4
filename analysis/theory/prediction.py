"""Overlap@k and Recall@k of Phase-1 codes (random-hyperplane LSH, SimHash) predicted from float vectors.

No code is made and no parameter is fitted. The derivation, what is exact in it and what is an approximation stand in
docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.geometry.spectrum import unit_rows
from analysis.quality.per_query import Judgements
from analysis.theory.hyperplanes import difference_variance, from_cosine, mismatch_probability
from analysis.theory.threshold import thresholds
from store.errors import InvalidInput
from store.numerics.products import product
from store.search.neighbours import check_any, checked_exclude
from store.search.vectors import row_blocks
from store.threads import in_threads, parts_of

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Vectors = NDArray[np.floating[Any]]

_BEFORE, _AFTER = 4, 15  # ranks beside the last of a ranking whose documents stand for its boundary
_STRATA = 512  # groups of documents beyond the best, by rank
_COSINES = 1 << 25  # of queries and documents at a time: 256 MiB
_QUERIES = 1 << 9  # of a part of the work of one thread
_DIGITS = 6  # significant ones of a figure


@dataclass(frozen=True)
class Cut:
    """Which of the codes' ranking counts: the exact ``k`` best documents are looked for among its first ``depth``.

    The same number is a plain search. A larger depth is a search whose first ``depth`` documents are ranked again
    with the float vectors: its Overlap@k is the share of the exact k best among them.
    """

    k: int
    depth: int

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.depth:
            raise InvalidInput(f"cut: k is {self.k} and depth {self.depth}: give 1 ≤ k ≤ depth")


@dataclass(frozen=True, eq=False)
class Prediction:
    """Expected quality of each query over random hyperplanes, six significant digits; its mean is that of a cell.

    overlap: (bits, cut, query) share of the exact k best documents within the depth. recall: (bits, cut, query) share
    of the relevant documents within the depth; None without judgements.
    """

    overlap: Array
    recall: Array | None


def predict(
    documents: Vectors,
    queries: Vectors,
    bits: Sequence[int],
    cuts: Sequence[Cut],
    judgements: Judgements | None = None,
    exclude: NDArray[np.int64] | None = None,
) -> Prediction:
    """Overlap and Recall of Phase-1 codes of each length at each cut.

    documents (n, d), queries (q, d): float16, float32 or float64, finite, no row zero; only their directions count. The
    exact order is that of the angle, among equal ones the smaller row. exclude: (q,) the row that a query may not find,
    or -1. A depth beyond the documents is all of them. Blocks and threads do not change the result.

    Memory beside vectors and result: 256 MiB of cosines, or one query's where these are more, and 50 MB for each
    thread at 384 dimensions. Raises InvalidInput if a k exceeds a query's documents, and for vectors, bits, judgements
    or exclude that do not have the stated form.
    """
    _check_vectors("documents", documents)
    _check_vectors("queries", queries)
    check_any(queries)
    if documents.shape[1] != queries.shape[1]:
        raise InvalidInput(
            f"queries have {queries.shape[1]} dimensions, documents {documents.shape[1]}: embed both with one model"
        )
    for length in bits:
        if length < 1:
            raise InvalidInput(f"bits: a code has at least 1 bit, got {length}")
    excluded = checked_exclude(exclude, len(queries))
    fewest = len(documents) - bool((excluded >= 0).any())
    for cut in cuts:
        if cut.k > fewest:
            raise InvalidInput(
                f"k is {cut.k} but some query has {fewest} documents to search: lower k or add documents"
            )
    relevant = _relevant(judgements, documents, queries)
    overlap = np.empty((len(bits), len(cuts), len(queries)))
    recall = np.empty_like(overlap)

    def block(first: int, stop: int) -> None:
        cosines = _cosines(documents, unit_rows(queries[first:stop].astype(np.float64)))

        def part(some: slice) -> None:
            for at in range(some.start, some.stop):
                query = first + at
                ranking = _Ranking.of(documents, cosines[at], int(excluded[query]), relevant[query], cuts)
                overlap[:, :, query], recall[:, :, query] = ranking.quality(bits, cuts)

        in_threads(part, parts_of(stop - first, _QUERIES))

    step = max(1, _COSINES // len(documents))
    for first in range(0, len(queries), step):
        block(first, min(first + step, len(queries)))
    return Prediction(rounded(overlap), None if judgements is None else rounded(recall))


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Documents of one query that stand for all, the exact best first.

    means: (m,) probability that a bit of the document and of the query differ. weights: (m,) how many documents each
    stands for. between: (m, boundary) that a bit of it and of the document at each of the ranks ``boundary`` differ.
    relevant: places of the relevant documents, which stand, with the weight 0, behind the others.
    missed: relevant documents that the query may not find. documents: how many it may find.
    """

    means: Array
    weights: Array
    between: Array
    boundary: Rows
    relevant: slice
    missed: int
    documents: int

    @classmethod
    def of(
        cls,
        documents: Vectors,
        cosines: Array,
        excluded: int,
        relevant: NDArray[np.int32],
        cuts: Sequence[Cut],
    ) -> _Ranking:
        order = np.argsort(-cosines, kind="stable")
        if excluded >= 0:
            order = order[order != excluded]
        boundary = np.unique(np.concatenate([_window(cut.depth, len(order)) for cut in cuts]))
        ranks, weights = _representatives(int(boundary[-1]) + 1, len(order))
        judged = relevant[relevant != excluded]
        rows = np.concatenate([order[ranks], judged])
        units = unit_rows(documents[rows].astype(np.float64))
        return cls(
            from_cosine(cosines[rows]),
            np.concatenate([weights, np.zeros(len(judged))]),
            mismatch_probability(units, units[boundary]),
            boundary,
            slice(len(ranks), len(rows)),
            len(relevant) - len(judged),
            len(order),
        )

    def quality(self, bits: Sequence[int], cuts: Sequence[Cut]) -> tuple[Array, Array]:
        """Overlap and Recall, (bits, cut) each."""
        depths = sorted({cut.depth for cut in cuts if cut.depth < self.documents})
        found = {(b, depth): np.ones(len(self.means)) for b in bits for depth in {cut.depth for cut in cuts}}
        if depths:
            found |= self._found(bits, depths)
        overlap = [[found[b, cut.depth][: cut.k].mean() for cut in cuts] for b in bits]
        count = self.relevant.stop - self.relevant.start + self.missed
        recall = [[found[b, cut.depth][self.relevant].sum() / max(count, 1) for cut in cuts] for b in bits]
        return np.array(overlap), np.array(recall)

    def _found(self, bits: Sequence[int], depths: Sequence[int]) -> dict[tuple[int, int], Array]:
        """Probability (m,) that each document is among the first ``depth`` by codes of each length."""
        from scipy.special import ndtr

        variance = difference_variance(self.means[:, None], self.means[self.boundary], self.between)
        windows = [np.searchsorted(self.boundary, _window(depth, self.documents)) for depth in depths]
        own = np.stack([variance[:, window].mean(axis=1) / 2 for window in windows])
        deviations = np.concatenate([np.sqrt(own / b + 1 / (12 * b**2)) for b in bits])
        targets = np.tile(np.array(depths), len(bits))
        # Without noise the threshold is the angle of the last document.
        threshold = thresholds(self.means, deviations, self.weights, targets, self.means[targets - 1])
        found = ndtr((threshold[:, None] - self.means) / deviations)
        return dict(zip([(b, depth) for b in bits for depth in depths], found, strict=True))


def _window(depth: int, documents: int) -> Rows:
    """Ranks, from 0, of the documents at the boundary of the first ``depth``."""
    last = min(depth, documents) - 1
    return np.arange(max(0, last - _BEFORE), min(documents, last + 1 + _AFTER))


def _representatives(every: int, documents: int) -> tuple[Rows, Array]:
    """Ranks whose documents stand for all, and how many each stands for: each of the first ``every``, and beyond
    them the middle ones of groups whose sizes grow with the rank."""
    edges = np.unique(np.rint(np.geomspace(every, documents, _STRATA + 1)).astype(np.intp))
    sizes = np.diff(edges)
    ranks = np.concatenate([np.arange(every), edges[:-1] + (sizes - 1) // 2])
    return ranks, np.concatenate([np.ones(every), sizes])


def _cosines(documents: Vectors, queries: Array) -> Array:
    """(queries, documents) float64, the same on every machine, of queries of length 1."""
    cosines = np.empty((len(queries), len(documents)))

    def part(some: slice) -> None:
        for block in row_blocks(some.stop - some.start, documents.shape[1]):
            rows = slice(some.start + block.start, some.start + block.stop)
            cosines[:, rows] = product(queries, unit_rows(documents[rows].astype(np.float64)).T)

    in_threads(part, parts_of(len(documents), len(documents)))
    return cosines


def _relevant(judgements: Judgements | None, documents: Vectors, queries: Vectors) -> list[NDArray[np.int32]]:
    """Rows of the relevant documents of each query."""
    if judgements is None:
        return [np.empty(0, np.int32)] * len(queries)
    if judgements.n_queries != len(queries):
        raise InvalidInput(f"judgements are of {judgements.n_queries} queries, but {len(queries)} are given")
    if judgements.document.max() >= len(documents):
        raise InvalidInput(
            f"judgements.document: row {judgements.document.max()} is judged, but there are "
            f"{len(documents)} documents; drop judgements of unknown documents"
        )
    relevant = judgements.document[judgements.relevance > 0]
    return np.split(relevant, np.cumsum(judgements.relevant_counts())[:-1])


def _check_vectors(side: str, vectors: Vectors) -> None:
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or vectors.shape[1] == 0:
        raise InvalidInput(
            f"{side} have shape {vectors.shape} and dtype {vectors.dtype}: give (rows, dimension) floats"
        )
    for rows in row_blocks(len(vectors), vectors.shape[1]):
        usable = np.isfinite(vectors[rows]).all(axis=1) & vectors[rows].any(axis=1)
        if not usable.all():
            row = rows.start + int(np.argmin(usable))
            raise InvalidInput(f"{side} row {row} is not finite or is all zero: embed it again")


def rounded(values: Array) -> Array:
    """Six significant digits: more would differ between processors, whose arc cosines do."""
    flat = [float(f"{value:.{_DIGITS}g}") for value in values.ravel()]
    return np.array(flat).reshape(values.shape)
