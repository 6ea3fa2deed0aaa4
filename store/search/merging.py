"""Top-k results of parts of the documents, put together under the order that every search declares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    Scores that are whole numbers are distances, the smaller the better; others are products, the larger the better.
    Ties go to the smaller row, so that the result is that of one search of all documents, bit for bit. Parts are
    taken one after the other; memory is that of the result and of one part.

    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.
    Raises InvalidInput if some query has fewer than k documents.
    """
    check_k(k)
    best = Neighbours(np.empty((0, 0), np.int64), np.empty((0, 0)))
    for part in parts:
        found = part if exclude is None else _without(part, exclude)
        if best.rows.size:
            found = _ordered(
                np.concatenate([best.rows, found.rows], axis=1),
                np.concatenate([best.scores, found.scores], axis=1),
            )
        best = Neighbours(found.rows[:, :k], found.scores[:, :k])
    if best.rows.shape[1] < k or (best.rows == NO_ROW).any():
        raise_too_few(k)
    return best


def _without(part: Neighbours, exclude: NDArray[np.int64]) -> Neighbours:
    """The part, in whose last places stand the documents that are left out, as if nothing had been found there."""
    out = part.rows == exclude[:, None]
    if not out.any():
        return part
    order = np.argsort(out, axis=1, kind="stable")
    rows = np.where(out, NO_ROW, part.rows)
    scores = np.where(out, _worst(part.scores), part.scores)
    return Neighbours(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _ordered(rows: NDArray[np.int64], scores: NDArray[Any]) -> Neighbours:
    key = scores if scores.dtype.kind == "i" else -scores
    order = np.lexsort((rows, key), axis=1)
    return Neighbours(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _worst(scores: NDArray[Any]) -> Any:
    kind = scores.dtype
    return np.iinfo(kind).max if kind.kind == "i" else np.array(-np.inf, kind)
