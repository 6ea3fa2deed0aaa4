"""Re-scoring: the best documents of a first search ranked again by better vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.artifacts.configuration import Configuration
from store.search.neighbours import Neighbours
from store.search.rescoring import Rescorer, rescored
from store.search.vectors import Floats

MOST_PAIRS = 1 << 22
"""Pairs of query and document that are scored at once: about 250 MiB with working copies."""


@dataclass(frozen=True, eq=False)
class Second:
    """A second stage: its name, its bytes a vector, and the scores it gives to (queries, candidates) rows."""

    name: str
    size: int
    scores: Callable[[NDArray[np.int64]], NDArray[np.float64]]

    def configuration(self, first: Configuration, oversample: int) -> Configuration:
        """What ``first`` is called once its best ``oversample`` × k documents are ranked again."""
        return replace(first, rescore=self.name, oversample=oversample, rescore_bytes=self.size)

    def ranked(
        self, candidates: NDArray[np.int64], k: int, oversamples: Sequence[int]
    ) -> Iterator[Neighbours]:
        """The k best of the candidates, (queries, candidates) rows, for each multiple of k."""
        scores = self.scores(candidates)
        for oversample in oversamples:
            yield rescored(candidates, scores, k, oversample)


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
