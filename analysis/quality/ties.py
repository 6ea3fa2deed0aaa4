"""What ties at rank k do to Recall@k of a Hamming search: its expectation, and the queries concerned.

Documents closer than the k-th distance are in the top k for certain; of the `tied` documents at exactly
that distance a random order puts k − `closer` in. By linearity each tied document is in with probability (k
− closer) ÷ tied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.quality.per_query import Judgements
from store.errors import InvalidInput


def expected_recall(
    judgements: Judgements,
    judged_distances: NDArray[np.integer],
    kth_distances: NDArray[np.integer],
    closer: NDArray[np.integer],
    tied: NDArray[np.integer],
    ks: Sequence[int],
) -> NDArray[np.float64]:
    """Recall@k expected over uniformly random orders among equal distances, (k, q) float64.

    `judged_distances` (j,) is the distance of each judgement's document from its query; `kth_distances` (q,
    k) the distance at rank k; `closer` and `tied` (q, k) how many searched documents lie strictly below and
    exactly at it. Documents excluded from a query's search are not counted; if one is judged, give it a
    distance beyond all others. Raises InvalidInput where the counts cannot be those of a ranking or
    disagree with the judged distances.
    """
    _check(closer, tied, ks, judgements.n_queries)
    for name, counted in (("kth_distances", kth_distances), ("closer", closer)):
        if counted.shape != tied.shape:
            raise InvalidInput(f"{name}: expected shape {tied.shape} as `tied` has, got {counted.shape}")
    if judged_distances.shape != judgements.query.shape:
        raise InvalidInput(
            f"judged_distances: expected one distance for each of the {len(judgements.query)} judgements, "
            f"got shape {judged_distances.shape}"
        )
    relevant = judgements.relevance > 0
    query = judgements.query[relevant]
    distance = judged_distances[relevant]
    counts = judgements.relevant_counts()
    values = np.empty((len(ks), judgements.n_queries))
    for column, k in enumerate(ks):
        at_rank = kth_distances[query, column]
        sure = np.bincount(query[distance < at_rank], minlength=judgements.n_queries)
        possible = np.bincount(query[distance == at_rank], minlength=judgements.n_queries)
        if (sure > closer[:, column]).any() or (possible > tied[:, column]).any():
            raise InvalidInput(
                f"judged_distances: more relevant documents than counted documents at k = {k}; "
                "count over the same documents, with the same exclusions, as the search"
            )
        values[column] = (sure + possible * ((k - closer[:, column]) / tied[:, column])) / counts
    return values


def tied_share(
    closer: NDArray[np.integer], tied: NDArray[np.integer], ks: Sequence[int]
) -> NDArray[np.bool_]:
    """Whether rank k cuts through a group of equal distances, (k, q) bool.

    Its mean is the share of queries tied at k. `closer` and `tied` (q, k) as in `expected_recall`. Raises
    InvalidInput as there.
    """
    _check(closer, tied, ks, len(closer))
    return np.asarray((closer + tied > np.asarray(ks)).T)


def _check(closer: NDArray[np.integer], tied: NDArray[np.integer], ks: Sequence[int], n_queries: int) -> None:
    if tied.shape != (n_queries, len(ks)) or closer.shape != tied.shape:
        raise InvalidInput(
            f"closer, tied: expected shape {(n_queries, len(ks))} (queries, ks), "
            f"got {closer.shape} and {tied.shape}"
        )
    k = np.asarray(ks)
    if (closer < 0).any() or (closer >= k).any() or (closer + tied < k).any():
        raise InvalidInput(
            "closer, tied: rank k must lie within its tie group, closer < k <= closer + tied; "
            "count documents at exactly the distance of rank k"
        )
