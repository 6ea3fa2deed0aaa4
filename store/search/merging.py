"""Top-k results of parts of the documents, merged in the order that every search declares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.neighbours import NO_ROW, Neighbours, check_k, raise_too_few


def wanted_of(rows: int, k: int, exclude: NDArray[np.int64] | None) -> int:
    """How many neighbours to ask a part of ``rows`` documents for, without leaving any out, so that k can be merged.

    One more than k where queries leave a document out: `merged` does that. Which of them it is, and in which part,
    would otherwise decide how many documents a part has for a query.
    """
    check_k(k)
    return min(rows, k + (exclude is not None and bool((exclude >= 0).any())))


def merged(parts: Iterable[Neighbours], k: int, exclude: NDArray[np.int64] | None = None) -> Neighbours:
    """The k best of what was found in parts of the documents, in any order; each part has `wanted_of` its rows.

    All parts agree on which score is better. Ties go to the smaller row, so that the result is that
    of one search of all documents, bit for bit. Parts are taken one after the other; memory is that of the result and
    of one part.

    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.
    Raises InvalidInput if some query has fewer than k documents, and for parts of searches of which one ranks by
    distances and another by products.
    """
    check_k(k)
    best: Neighbours | None = None
    for part in parts:
        found = part if exclude is None else _without(part, exclude)
        found = found if best is None else _together(best, found)
        best = replace(found, rows=found.rows[:, :k], scores=found.scores[:, :k])
    if best is None or best.rows.shape[1] < k or (best.rows == NO_ROW).any():
        raise_too_few(k)
    return best


def _without(part: Neighbours, exclude: NDArray[np.int64]) -> Neighbours:
    """The part with the documents that are left out in its last places, as if nothing had been found there."""
    out = part.rows == exclude[:, None]
    if not out.any():
        return part
    order = np.argsort(out, axis=1, kind="stable")
    rows = np.where(out, NO_ROW, part.rows)
    scores = np.where(out, _worst(part), part.scores)
    return _taken(part, rows, scores, order)


def _together(one: Neighbours, other: Neighbours) -> Neighbours:
    """All of both, in order."""
    if one.larger_is_better != other.larger_is_better:
        raise InvalidInput(
            "neighbours ranked by distances and by products cannot be merged: merge the parts of one search"
        )
    rows = np.concatenate([one.rows, other.rows], axis=1)
    scores = np.concatenate([one.scores, other.scores], axis=1)
    order = np.lexsort((rows, -scores if one.larger_is_better else scores), axis=1)
    return _taken(one, rows, scores, order)


def _taken(
    found: Neighbours, rows: NDArray[np.int64], scores: NDArray[Any], order: NDArray[np.intp]
) -> Neighbours:
    return replace(
        found,
        rows=np.take_along_axis(rows, order, axis=1),
        scores=np.take_along_axis(scores, order, axis=1),
    )


def _worst(found: Neighbours) -> Any:
    """A score that is no better than any document's, of the dtype of the scores."""
    if found.scores.dtype == np.int32:
        most = np.int32(np.iinfo(np.int32).max)
        return -most if found.larger_is_better else most  # the least int32 has no negative to sort by
    return -np.inf if found.larger_is_better else np.inf
