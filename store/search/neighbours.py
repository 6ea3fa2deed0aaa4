"""What a search returns, and what every search requires of its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

NO_ROW = np.iinfo(np.int64).max
"""No document has been found yet; larger than every row."""


@dataclass(frozen=True)
class Neighbours:
    """The k best documents of each query, best first.

    rows: (queries, k) int64 rows of documents.
    scores: (queries, k); inner products in float64, or Hamming distances in int32.
    larger_is_better: whether the best document has the largest score (products) or the smallest (distances).
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64] | NDArray[np.int32]
    larger_is_better: bool


class TopK(Protocol):
    """An exhaustive search that is given the documents in blocks and keeps the best k of them."""

    def update(self, block: NDArray[Any], first_row: int) -> None:
        """Search (documents, …) codes, the first of which is row `first_row`; each row once."""

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""


def checked_exclude(exclude: NDArray[np.int64] | None, queries: int) -> NDArray[np.int64]:
    """The rows to leave out as int64, -1 for none; InvalidInput for another shape."""
    if exclude is None:
        return np.full(queries, -1, dtype=np.int64)
    if exclude.shape != (queries,):
        raise InvalidInput(
            f"exclude has shape {exclude.shape}: give one row (or -1) for each of {queries} queries"
        )
    return exclude.astype(np.int64)


def check_k(k: int) -> None:
    """Refuse a number of neighbours below one."""
    if k < 1:
        raise InvalidInput(f"k is {k}: ask for at least 1 neighbour")


def check_any(queries: NDArray[Any]) -> None:
    """Refuse to search without queries."""
    if not len(queries):
        raise InvalidInput("queries are empty: give at least one")


def raise_too_few(k: int) -> NoReturn:
    """Say that some query met fewer documents than it asked for."""
    raise InvalidInput(f"k is {k} but some query has fewer documents to search: lower k or add documents")
