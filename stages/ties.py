"""What the ties of a Hamming search can do to Recall: counts at each cut-off, and the distances of judged pairs."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from store.hamming import hamming_ties, paired_hamming
from store.leaf import Leaf

BEYOND = np.iinfo(np.int32).max
"""Distance given to a judged pair whose document is left out of the query's search."""


def tie_counts(
    queries: NDArray[np.uint8],
    blocks: Callable[[], Iterable[tuple[int, NDArray[np.uint8]]]],
    kth_distances: NDArray[np.int32],
    judgements: Leaf,
) -> dict[str, NDArray[np.int32]]:
    """``closer`` and ``tied`` (query, k), and ``judged_distance`` (judgement,), from (query, k) distances at rank k.

    queries: (queries, bytes) uint8 codes; ``blocks`` gives the documents' codes, each time it is called.
    """
    self_row = judgements.read("self_row").astype(np.int64)
    judged_query, judged_document = judgements.read("judged_query"), judgements.read("judged_document")
    closer, tied = hamming_ties(queries, blocks(), kth_distances, self_row)
    distance = paired_hamming(queries[judged_query], blocks(), judged_document)
    left_out = self_row[judged_query] == judged_document
    return {
        "closer": closer,
        "tied": tied,
        "judged_distance": np.where(left_out, BEYOND, distance).astype(np.int32),
    }
