"""The quality of one search of a cell, with its ties where distances are Hamming, and of ranking its best anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.quality.per_query import Judgements, per_query
from analysis.quality.ties import expected_recall, tied_share
from pipeline.executors import Engine
from pipeline.stored_codes import StoredCodes
from pipeline.ties import tie_counts
from store.artifacts.configuration import Configuration
from store.leaf.reading import Leaf
from store.search.neighbours import Neighbours
from store.search.rescoring import Rescorer, rescored
from store.search.vectors import Floats

MOST_PAIRS = 1 << 22
"""Pairs of query and document that are scored at once: about 250 MiB with working copies."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Per-query quality: ``value`` (metric, k, query), ``expected_recall`` and ``tie_cut`` (k, query)."""

    configuration: Configuration
    value: NDArray[np.float32]
    expected_recall: NDArray[np.float32]
    tie_cut: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rescored:
    """Per-query quality at one cut-off: ``value`` (metric, 1, query)."""

    configuration: Configuration
    value: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Second:
    """A second stage: its name, its bytes a vector, and the scores it gives to (queries, candidates) rows."""

    name: str
    size: int
    scores: Callable[[NDArray[np.int64]], NDArray[np.float64]]


def scoring(
    queries: Floats, n_documents: int, blocks: Callable[[], Iterator[tuple[int, NDArray[Any]]]]
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Scores of candidates by the vectors that ``blocks`` gives each time it is called.

    Where all pairs fit in memory each is scored once, and serves every first stage; a score depends on its pair alone.
    """

    def scores(candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        rescorer = Rescorer(queries, candidates)
        for first, block in blocks():
            rescorer.update(block, first)
        return rescorer.result()

    if len(queries) * n_documents > MOST_PAIRS:
        return scores
    every = scores(np.tile(np.arange(n_documents), (len(queries), 1)))
    return lambda candidates: np.take_along_axis(every, candidates, axis=1)


@dataclass(frozen=True, eq=False)
class Cell:
    """What every search of a cell is asked and judged by; ``judged`` is the leaf of ``judgements``."""

    engine: Engine
    queries: Floats
    judged: Leaf
    judgements: Judgements
    self_row: NDArray[np.int64]
    exact_rows: NDArray[np.int32]

    def evaluate(
        self, configuration: Configuration, codes: StoredCodes, found: Neighbours, ks: Sequence[int]
    ) -> Evaluated:
        """Quality of what was found at every cut-off; where distances are Hamming, what their ties do to Recall."""
        value = per_query(found.rows, self.exact_rows, self.judgements, ks)
        shape = (len(ks), len(self.queries))
        if configuration.scoring != "hamming":
            return Evaluated(
                configuration, value, np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
            )
        kth = found.scores.astype(np.int32)[:, np.array(ks) - 1]
        queries = codes.codec.encode(codes.state, self.queries)
        ties = tie_counts(self.engine, queries, codes.rows, kth, self.judged)
        counts = (ties["closer"], ties["tied"])
        expected = expected_recall(self.judgements, ties["judged_distance"], kth, *counts, ks)
        return Evaluated(configuration, value, expected.astype(np.float32), tied_share(*counts, ks))

    def rescore(
        self,
        configuration: Configuration,
        candidates: NDArray[np.int64],
        second: Second,
        k: int,
        oversamples: Sequence[int],
    ) -> Iterator[Rescored]:
        """Quality at k of the candidates ranked anew, for each multiple of k."""
        scores = second.scores(candidates)
        for oversample in oversamples:
            rows = rescored(candidates, scores, k, oversample)
            yield Rescored(
                replace(configuration, rescore=second.name, oversample=oversample, rescore_bytes=second.size),
                per_query(rows, self.exact_rows, self.judgements, [k]),
            )
