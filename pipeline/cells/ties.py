"""What the ties of a Hamming search can do to Recall: counts at each cut-off, and the distances of judged pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.cells.blocks import Rows
from pipeline.executors import Engine
from store.leaf.reading import Leaf
from store.search.hamming import hamming_ties, paired_hamming

BEYOND = np.iinfo(np.int32).max
"""Distance given to a judged pair whose document is left out of the query's search."""


def tie_counts(
    engine: Engine,
    queries: NDArray[np.uint8],
    rows: Rows,
    kth_distances: NDArray[np.int32],
    judgements: Leaf,
) -> dict[str, NDArray[np.int32]]:
    """``closer`` and ``tied`` (query, k), and ``judged_distance`` (judgement,), from (query, k) distances at rank k.

    queries: (queries, bytes) uint8 codes; ``rows`` are the documents' codes.
    """
    self_row = judgements.read("self_row").astype(np.int64)
    judged_query, judged_document = judgements.read("judged_query"), judgements.read("judged_document")
    closer, tied = np.zeros_like(kth_distances), np.zeros_like(kth_distances)
    distance = np.empty(len(judged_document), np.int32)
    parts = rows.parts(engine)
    pairs = [
        np.flatnonzero((judged_document >= part.start) & (judged_document < part.stop)) for part in parts
    ]
    jobs = (
        (queries, rows, part, kth_distances, self_row, judged_query[here], judged_document[here])
        for part, here in zip(parts, pairs, strict=True)
    )
    for here, (closer_here, tied_here, distance_here) in zip(
        pairs, engine.in_order(_counts, jobs), strict=True
    ):
        closer += closer_here
        tied += tied_here
        distance[here] = distance_here
    left_out = self_row[judged_query] == judged_document
    return {
        "closer": closer,
        "tied": tied,
        "judged_distance": np.where(left_out, BEYOND, distance).astype(np.int32),
    }


def _counts(
    queries: NDArray[np.uint8],
    rows: Rows,
    part: slice,
    kth_distances: NDArray[np.int32],
    self_row: NDArray[np.int64],
    judged_query: NDArray[np.int32],
    judged_document: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Closer and tied documents among those of a part, and the distances of pairs whose documents lie in it."""
    closer, tied = hamming_ties(queries, rows.blocks(part), kth_distances, self_row)
    return closer, tied, paired_hamming(queries[judged_query], rows.blocks(part), judged_document)
