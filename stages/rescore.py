"""Re-scoring: the best documents of each first codec, ranked again by larger vectors."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field as Constraint
from pydantic import field_validator

from pipeline.cells.blocks import top_k
from pipeline.cells.codes import StoredCodes, stored_codes
from pipeline.cells.rescore import Second, scoring
from pipeline.cells.search import Search, Ties, search_of, undertrained_among, write
from pipeline.cells.settings import Positive, distinct
from pipeline.executors import open_engine
from pipeline.stage import CELL, Run, Section, Stage
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.further_codes import FURTHER_CODES
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import RESCORED_NEIGHBOURS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.floats import Float32Codec
from store.errors import InvalidInput
from store.search.neighbours import Neighbours
from store.threads import side_by_side

CODES = (BINARY_CODES, QUANTIZED_CODES, FURTHER_CODES)

STAGE = Stage(
    "rescore",
    CELL,
    params=("rescore",),
    reads=(EMBEDDINGS, JUDGEMENTS, *CODES),
    writes=(RESCORED_NEIGHBOURS,),
)


class Params(Section):
    """The best ``oversample`` × ``k`` documents of each codec in ``first`` are ranked again with those in ``second``.

    ``float32`` are the stored vectors. A second stage that is no larger than the first is left out: it has nothing to
    tell that the first does not know.
    """

    first: Annotated[tuple[str, ...], Constraint(min_length=1)]
    second: Annotated[tuple[Literal["int8", "float32"], ...], Constraint(min_length=1)]
    k: Positive
    oversample: Annotated[tuple[Positive, ...], Constraint(min_length=1)]

    @field_validator("oversample")
    @classmethod
    def _ascending(cls, oversample: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(oversample)) != list(oversample):
            raise ValueError("multiples of k must be ascending and distinct")
        return oversample

    @field_validator("first", "second")
    @classmethod
    def _distinct(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(codecs)


def run(run: Run[Params]) -> None:
    """Search the first codecs as deep as the largest multiple of k, and rank what they find again."""
    wanted, embeddings = run.params, run.open(EMBEDDINGS)
    codes = [one for schema in CODES for one in stored_codes(run.open(schema), schema)]
    first = [one for one in codes if one.key in wanted.first]
    searches, seconds = [search_of(one, embeddings) for one in first], _seconds(run, codes)
    larger = {
        one: [second for second in seconds if second.size > one.configuration.bytes_per_vector]
        for one in searches
    }
    if not any(larger.values()):
        smallest = min(one.configuration.bytes_per_vector for one in searches)
        raise InvalidInput(
            f"rescore.second: none is larger than the {smallest} bytes of the smallest first stage; add a larger one"
        )
    self_row = run.open(JUDGEMENTS).read("self_row").astype(np.int64)
    # A query that is itself a document has one document less to find.
    available = embeddings.size("document") - bool((self_row >= 0).any())
    depth = min(max(wanted.oversample) * wanted.k, available)

    with open_engine() as engine, run.commit(RESCORED_NEIGHBOURS) as leaf:

        def ranked(one: Search) -> list[Neighbours]:
            candidates = top_k(engine, one.start, one.rows, depth, self_row).rows
            return [
                found
                for second in larger[one]
                for found in second.ranked(candidates, wanted.k, wanted.oversample)
            ]

        used = [one for one in searches if larger[one]]
        configurations = [
            second.configuration(one.configuration, oversample)
            for one in used
            for second in larger[one]
            for oversample in wanted.oversample
        ]
        no_ties: Ties = {}
        found = (
            (neighbours, no_ties)
            for of_search in side_by_side(ranked, used, "re-scoring", engine.at_once)
            for neighbours in of_search
        )
        write(leaf, configurations, found, (len(self_row), wanted.k))
        leaf.describe(**run.keys, undertrained=undertrained_among(first))
    run.say(f"{len(configurations)} configurations × {len(self_row)} queries")


def _seconds(run: Run[Params], codes: list[StoredCodes]) -> list[Second]:
    embeddings = run.open(EMBEDDINGS)
    queries, n = embeddings.read("queries"), embeddings.size("document")
    found = []
    for name in run.params.second:
        if name == Float32Codec.name:
            size = Float32Codec().bytes_per_vector(embeddings.size("dimension"))
            found.append(Second(name, size, scoring(queries, n, lambda: embeddings.blocks("documents"))))
        else:
            (stored,) = [one for one in codes if one.key == name]
            found.append(Second(name, stored.width, scoring(queries, n, stored.decoded)))
    return found
