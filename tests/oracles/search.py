"""Slow exact search: every pair, exact scores, one full sort per query."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


def exact_score(query: NDArray[Any], document: NDArray[Any]) -> Fraction:
    """The inner product as the rational number that it is."""
    return sum(
        (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(query, document, strict=True)), Fraction(0)
    )


def folded_score(query: NDArray[Any], document: NDArray[Any]) -> float:
    """Products in float64, added by folding the list in halves."""
    terms = [float(a) * float(b) for a, b in zip(query, document, strict=True)]
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        tail = terms[half:]
        terms = [term + tail[i] if i < len(tail) else term for i, term in enumerate(terms[:half])]
    return terms[0]


def ranked(scores: Sequence[Any], k: int, exclude: int = -1) -> list[int]:
    """Rows of the k greatest scores, smaller row first among equals, without the excluded row."""
    rows = [row for row in range(len(scores)) if row != exclude]
    return sorted(rows, key=lambda row: (-scores[row], row))[:k]


def inner_product_rows(
    queries: NDArray[Any], documents: NDArray[Any], k: int, exclude: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """(queries, k) rows by exact inner product."""
    out = np.full(len(queries), -1) if exclude is None else exclude
    return np.array(
        [
            ranked([exact_score(query, document) for document in documents], k, int(leave))
            for query, leave in zip(queries, out, strict=True)
        ]
    )


def hamming(query_codes: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(queries, documents) counts of differing bits."""
    bits = np.unpackbits(query_codes, axis=1)[:, None, :] != np.unpackbits(codes, axis=1)[None, :, :]
    return np.asarray(bits.sum(axis=2))
