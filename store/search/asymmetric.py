"""Asymmetric search: uncompressed queries against binary documents.

A query keeps its projections where a document has their signs only, so that nothing of the query is lost (Gordo,
Perronnin, Gong & Lazebnik 2014). The codes are those of Hamming search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search.inner_product import InnerProductTopK
from store.search.neighbours import Neighbours
from store.search.vectors import check_codes, row_blocks


class AsymmetricTopK:
    """The k documents whose signs, as -1 and 1, have the largest inner product with each query's projections.

    projections: (queries, bits) float, in the order of the bits. They are rounded to float32; scores of the
    rounded ones are float64, and ties go to the smaller row.
    exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.
    """

    def __init__(
        self, projections: NDArray[np.float64], k: int, exclude: NDArray[np.int64] | None = None
    ) -> None:
        if projections.ndim != 2 or projections.shape[1] == 0:
            raise InvalidInput(f"projections have shape {projections.shape}: give (queries, bits)")
        self._bits = projections.shape[1]
        self._top = InnerProductTopK(projections.astype(np.float32), k, exclude)

    def update(self, block: NDArray[np.uint8], first_row: int) -> None:
        """Search (documents, ceil(bits / 8)) uint8 codes, the first of which is row `first_row`; each row once.

        The first bit is in the most significant place; places after the last bit do not count.
        """
        check_codes(block, -(-self._bits // 8), np.uint8)
        for rows in row_blocks(len(block), self._bits):
            signs = np.unpackbits(block[rows], axis=1, count=self._bits).astype(np.float32)
            signs *= 2
            signs -= 1
            self._top.update(signs, first_row + rows.start)

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""
        return self._top.result()
