"""Searches beyond the core: the further codecs, asymmetric search of binary codes, and re-scoring.

What each search finds is evaluated at once; its quality is kept, the neighbours are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field as Constraint
from pydantic import field_validator

from analysis.quality.per_query import METRICS
from pipeline.blocks import top_k
from pipeline.evaluation import Cell, Evaluated, Rescored, Second, scoring
from pipeline.executors import Engine, open_engine
from pipeline.judged import read_judgements
from pipeline.stage import CELL, Run, Section, Stage
from pipeline.stored_codes import StoredCodes, begin, stored_codes
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.extended_codes import EXTENDED_CODES
from store.artifacts.extended_quality import EXTENDED_QUALITY
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.base import Binary, State, search_asymmetric
from store.codecs.floats import Float32Codec
from store.codecs.phase1_codec import Phase1Codec
from store.codecs.pq import undertrained
from store.codecs.registry import CODECS
from store.errors import InvalidInput
from store.leaf.reading import Leaf
from store.search.neighbours import TopK
from store.search.vectors import Floats
from store.threads import side_by_side

STAGE = Stage(
    name="search-extended",
    per=CELL,
    section="search_extended",
    reads=(EMBEDDINGS, JUDGEMENTS, EXACT_NEIGHBOURS, BINARY_CODES, QUANTIZED_CODES, EXTENDED_CODES),
    writes=(EXTENDED_QUALITY,),
    needs_cutoffs=True,
)

Positive = Annotated[int, Constraint(ge=1)]


class Rescoring(Section):
    """The best ``oversample`` × ``k`` documents of each codec in ``first`` are ranked anew with those in ``second``.

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
        return _distinct(codecs)


class Params(Section):
    """``asymmetric`` are the binary codecs whose documents also meet uncompressed queries."""

    asymmetric: tuple[str, ...]
    rescore: Rescoring

    @field_validator("asymmetric")
    @classmethod
    def _binary(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        known = [key for key, codec in CODECS.items() if hasattr(codec, "project")]
        for codec in codecs:
            if codec not in known:
                raise ValueError(f"{codec!r} is not a binary codec: choose among {', '.join(known)}")
        return _distinct(codecs)


def _distinct(codecs: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(codecs)) != len(codecs):
        raise ValueError("codecs must be distinct")
    return codecs


@dataclass(frozen=True, eq=False)
class Search:
    """A search of stored codes, and what is wanted of it beside: its quality, its best documents ranked anew."""

    codes: StoredCodes
    configuration: Configuration
    evaluated: bool
    rescored: bool


def run(run: Run[Params]) -> None:
    """Search all codes of the cell; evaluate what the core has not, and rank the best anew."""
    with open_engine() as engine:
        _run(run, engine)


def _run(run: Run[Params], engine: Engine) -> None:
    embeddings, judged = run.open(EMBEDDINGS), run.open(JUDGEMENTS)
    cell = Cell(
        engine=engine,
        queries=embeddings.read("queries"),
        judged=judged,
        judgements=read_judgements(judged),
        self_row=judged.read("self_row").astype(np.int64),
        exact_rows=run.open(EXACT_NEIGHBOURS).read("rows", 0),
    )
    ks, rescoring = list(run.cutoffs), run.params.rescore
    searches, seconds = list(_searches(run)), _seconds(run, cell.queries)
    smallest = min(wanted.configuration.bytes_per_vector for wanted in searches if wanted.rescored)
    if all(second.size <= smallest for second in seconds):
        raise InvalidInput(
            f"search_extended.rescore.second: none is larger than the {smallest} bytes of the smallest first stage; "
            "add a larger one"
        )
    # A query that is itself a document has one document less to find.
    available = embeddings.size("document") - bool((cell.self_row >= 0).any())
    reach = min(max(rescoring.oversample) * rescoring.k, available)

    def search(wanted: Search) -> tuple[list[Evaluated], list[Rescored]]:
        codes = wanted.codes
        depth = max(ks[-1] if wanted.evaluated else 0, reach if wanted.rescored else 0)
        asymmetric = wanted.configuration.scoring == "asymmetric"
        start = partial(_begin_asymmetric if asymmetric else begin, codes.codec, codes.state, embeddings)
        found = top_k(engine, start, codes.rows, depth, cell.self_row)
        evaluated = [cell.evaluate(wanted.configuration, codes, found, ks)] if wanted.evaluated else []
        anew = [
            quality
            for second in (seconds if wanted.rescored else [])
            if second.size > wanted.configuration.bytes_per_vector
            for quality in cell.rescore(
                wanted.configuration, found.rows[:, :reach], second, rescoring.k, rescoring.oversample
            )
        ]
        return evaluated, anew

    found = list(side_by_side(search, searches, "further searches", engine.at_once))
    evaluated = [quality for some, _ in found for quality in some]
    anew = [quality for _, some in found for quality in some]
    with run.commit(EXTENDED_QUALITY) as leaf:
        for group, configurations, cutoffs in (
            ("searched", [quality.configuration for quality in evaluated], ks),
            ("rescored", [quality.configuration for quality in anew], [rescoring.k]),
        ):
            for name, column in columns_of(configurations).items():
                leaf.write(f"{group}/{name}", column)
            leaf.write(f"{group}/metric", list(METRICS))
            leaf.write(f"{group}/k", np.array(cutoffs, np.int32))
        leaf.write("searched/value", np.stack([quality.value for quality in evaluated]))
        leaf.write("searched/expected_recall", np.stack([quality.expected_recall for quality in evaluated]))
        leaf.write("searched/tie_cut", np.stack([quality.tie_cut for quality in evaluated]))
        leaf.write("rescored/value", np.stack([quality.value for quality in anew]))
        leaf.describe(**run.keys, undertrained=_undertrained(searches))
    run.say(f"{len(evaluated)} configurations searched, {len(anew)} re-scored")


def _begin_asymmetric(codec: Binary, state: State, embeddings: Leaf, k: int) -> TopK:
    return search_asymmetric(codec, state, embeddings.read("queries"), k)


def _searches(run: Run[Params]) -> Iterator[Search]:
    """Every search of the cell. Plain searches of the core are evaluated elsewhere, and here re-scored alone."""
    first, asymmetric = run.params.rescore.first, run.params.asymmetric
    quantized, extended = run.open(QUANTIZED_CODES), run.open(EXTENDED_CODES)
    core = [*_phase1(run.open(BINARY_CODES)), *_every(quantized)]
    for codes, evaluated in [*((codes, False) for codes in core), *((c, True) for c in _every(extended))]:
        if evaluated or codes.key in first:
            yield Search(codes, codes.configuration(), evaluated, codes.key in first)
        if codes.key in asymmetric:
            yield Search(codes, codes.configuration("asymmetric"), True, False)


def _phase1(leaf: Leaf) -> Iterator[StoredCodes]:
    for bits in leaf.group_attributes("phase1")["bits"]:
        for index, seed in enumerate(leaf.read("phase1/seed").tolist()):
            yield StoredCodes(
                "phase1", Phase1Codec(bits, seed), {}, leaf, "phase1/documents", index, bits // 8
            )


def _every(leaf: Leaf) -> list[StoredCodes]:
    return [codes for group in leaf.groups() for codes in stored_codes(leaf, group, CODECS)]


def _seconds(run: Run[Params], queries: Floats) -> list[Second]:
    embeddings = run.open(EMBEDDINGS)
    n, dimension = embeddings.size("document"), embeddings.size("dimension")
    (int8,) = stored_codes(run.open(QUANTIZED_CODES), "int8", CODECS)
    known = {
        "int8": (int8.width, int8.decoded),
        "float32": (
            Float32Codec().bytes_per_vector(dimension),
            lambda: embeddings.blocks("documents"),
        ),
    }
    return [
        Second(name, known[name][0], scoring(queries, n, known[name][1]))
        for name in run.params.rescore.second
    ]


def _undertrained(searches: list[Search]) -> list[str]:
    """Names of codecs with codebooks that were trained on too few documents."""
    return sorted(
        {
            wanted.codes.codec.name
            for wanted in searches
            if any("centroid" in declared.dims for declared in wanted.codes.codec.STATE.values())
            and undertrained(wanted.codes.leaf.attributes["fit_rows"])
        }
    )
