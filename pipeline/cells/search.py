"""Searching a cell: what any search of it is, and how what was found is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cells.blocks import Rows, top_k
from pipeline.cells.codes import StoredCodes
from pipeline.cells.ties import tie_counts
from pipeline.executors import Engine, open_engine
from pipeline.stage import Run
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.judgements import JUDGEMENTS
from store.codecs.base import Binary, State, search_asymmetric, undertrained
from store.leaf.commit import LeafWriter
from store.leaf.reading import Leaf
from store.leaf.schema import Schema
from store.progress import Progress
from store.search.neighbours import Neighbours, TopK
from store.threads import side_by_side

HAMMING, ASYMMETRIC = "hamming", "asymmetric"

Ties = Mapping[str, NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Search:
    """A search of the documents of a cell.

    ``start`` begins it for as many neighbours as it is told, and may travel to another process. ``query_codes`` gives
    the queries' codes where distances are Hamming.
    """

    configuration: Configuration
    rows: Rows
    start: Callable[[int], TopK]
    query_codes: Callable[[], NDArray[np.uint8]] | None = None


def search_of(codes: StoredCodes, embeddings: Leaf, scoring: str = "") -> Search:
    """A search of stored codes; ``scoring`` where it is not the codec's own."""
    codec, scoring = codes.codec, scoring or codes.codec.scoring
    begin = _asymmetric if scoring == ASYMMETRIC else _own
    return Search(
        codes.configuration(scoring),
        codes.rows,
        partial(begin, codec, codes.state, embeddings),
        (lambda: codec.encode(codes.state, embeddings.read("queries"))) if scoring == HAMMING else None,
    )


def _own(codec: Any, state: State, embeddings: Leaf, k: int) -> TopK:
    search: TopK = codec.search(state, embeddings.read("queries"), k)
    return search


def _asymmetric(codec: Binary, state: State, embeddings: Leaf, k: int) -> TopK:
    return search_asymmetric(codec, state, embeddings.read("queries"), k)


def undertrained_among(codes: Iterable[StoredCodes]) -> list[str]:
    """Names of codecs that were fitted on too few documents."""
    return sorted({one.codec.name for one in codes if undertrained(one.codec, one.fit_rows)})


def search(
    run: Run[Any], schema: Schema, searches: Sequence[Search], ks: Sequence[int], flagged: Sequence[str] = ()
) -> None:
    """Commit what every search finds, as deep as the last of the cut-offs ``ks``.

    ``flagged`` are names of codecs that were fitted on too few documents.
    """
    judged = run.open(JUDGEMENTS)
    self_row = judged.read("self_row").astype(np.int64)

    with open_engine() as engine, run.commit(schema) as leaf:

        def find(one: Search, advance: Callable[[int], None] = lambda rows: None) -> tuple[Neighbours, Ties]:
            found = top_k(engine, one.start, one.rows, ks[-1], self_row, advance)
            if one.query_codes is None:
                return found, {}
            kth = found.scores.astype(np.int32)[:, np.array(ks) - 1]
            return found, tie_counts(engine, one.query_codes(), one.rows, kth, judged)

        write(
            leaf,
            [one.configuration for one in searches],
            _found(find, searches, schema.artifact, engine),
            (len(self_row), ks[-1]),
            ks if any(one.query_codes for one in searches) else (),
            judged.size("judgement"),
        )
        leaf.describe(**run.keys, undertrained=list(flagged))
    run.say(f"{len(searches)} configurations × {len(self_row)} queries")


def _found(
    find: Callable[..., tuple[Neighbours, Ties]], searches: Sequence[Search], what: str, engine: Engine
) -> Iterator[tuple[Neighbours, Ties]]:
    if len(searches) > 1:
        return side_by_side(find, searches, what, engine.at_once)
    # A single search has all threads for itself.
    progress = Progress(what, searches[0].rows.count, "documents")
    return iter([find(searches[0], progress.advance)])


def write(
    leaf: LeafWriter,
    configurations: Sequence[Configuration],
    found: Iterable[tuple[Neighbours, Ties]],
    shape: tuple[int, int],
    ks: Sequence[int] = (),
    judgements: int = 0,
) -> None:
    """Write what was found for each configuration as it comes; ``shape`` is (queries, ranks).

    ``ks`` are the cut-offs of ties, and ``judgements`` counts the judged pairs, where any distances are Hamming.
    """
    number, (queries, _) = len(configurations), shape
    for name, column in columns_of(configurations).items():
        leaf.write(name, column)
    rows, scores = (leaf.create(name, (number, *shape)) for name in ("rows", "scores"))
    counts = {name: leaf.create(name, (number, queries, len(ks))) for name in ("closer", "tied") if ks}
    distances = np.full((number, judgements), -1, np.int32)
    for index, (neighbours, ties) in enumerate(found):
        leaf.fill(rows, [neighbours.rows.astype(np.int32)], index)
        leaf.fill(scores, [neighbours.scores.astype(scores.dtype)], index)
        for name, array in counts.items():
            leaf.fill(array, [ties.get(name, np.full((queries, len(ks)), -1, np.int32))], index)
        distances[index] = ties.get("judged_distance", -1)
    if ks:
        leaf.write("k", np.array(ks, np.int32))
        leaf.write("judged_distance", distances)
