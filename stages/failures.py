"""Failure modes: queries that binary codes lose and PQ of the same bytes keeps, the reverse, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint

from analysis.failures.cell import judged_scores, searches, truth_of
from analysis.failures.compare import compare_codecs, table
from analysis.failures.worst import markdown, wanted_documents, worst
from analysis.report.tables import csv_text
from pipeline.cells.judgements import read_judgements
from pipeline.stage import DATASET, STUDY, TEXTS, File, Run, Section, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS, EXACT_NEIGHBOURS, QUANTIZED_NEIGHBOURS
from store.corpora.corpus import DOCUMENTS_FILE, QUERIES_FILE, iter_texts, read_texts
from store.errors import InvalidInput
from store.leaf.commit import write_file

if TYPE_CHECKING:
    import xarray as xr

CSV = "report/failures.csv"
LOCAL = "report/local/worst-queries.md"
"""Holds texts: ignored by Git and unknown to DVC, which keeps it from being committed or pushed."""

STAGE = Stage(
    "failures",
    STUDY,
    params=("failures",),
    reads=(TEXTS, EMBEDDINGS, JUDGEMENTS, EXACT_NEIGHBOURS, BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS),
    writes=(File(CSV),),
)

_BATCH = 1024


class Params(Section):
    """``codec`` and ``reference`` of the same bytes are compared at ``k``; a query is kept at recall ≥ ``cut``.

    The local report shows the ``worst`` queries. Intervals take ``draws`` bootstrap draws.
    """

    codec: str
    reference: str
    k: Annotated[int, Constraint(ge=1)]
    cut: Annotated[float, Constraint(gt=0, le=1)]
    worst: Annotated[int, Constraint(ge=1)]
    draws: Annotated[int, Constraint(ge=1000)]
    seed: Annotated[int, Constraint(ge=0, lt=2**31)]
    confidence: Annotated[float, Constraint(gt=0.5, lt=1)]


def run(run: Run[Params]) -> None:
    """Compare every length that both codecs have, in every cell; write the table and the local report."""
    settings = run.params
    queries = {name: read_texts(run.layout.corpus(name) / QUERIES_FILE) for name in run.study.datasets}
    found: list[xr.Dataset] = []
    reverse: list[xr.Dataset] = []
    problem: InvalidInput | None = None
    for keys in run.study.cells():
        truth = _truth(run, keys, np.array([len(text.split()) for text in queries[keys[DATASET]]], np.int64))
        binary, quantized = (
            run.labelled(schema, keys) for schema in (BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS)
        )
        try:
            codec = searches(binary, settings.codec, settings.k, "codec")
            reference = searches(quantized, settings.reference, settings.k, "reference")
        except InvalidInput as error:
            # A cell whose sweep leaves a codec out has nothing to compare, as long as another cell has.
            problem = error
            continue
        for bits in sorted(codec.keys() & reference.keys()):
            lost, opposite = compare_codecs(truth, codec[bits], reference[bits], settings.cut)
            found.append(lost)
            reverse.append(opposite)
    if problem and not found:
        raise problem
    both = [side for pair in zip(found, reverse, strict=True) for side in pair]
    rows = table(both, draws=settings.draws, seed=settings.seed, confidence=settings.confidence)
    write_file(run.layout, run.layout.root / CSV, csv_text(rows).encode())

    chosen = worst(found, settings.worst)
    documents = {
        name: _texts_of(run.layout.corpus(name) / DOCUMENTS_FILE, wanted)
        for name, wanted in wanted_documents(chosen).items()
    }
    content = markdown(run.study.name, chosen, queries, documents)
    write_file(run.layout, run.layout.root / LOCAL, content.encode())
    run.say(f"{len(found)} comparisons, {len(rows)} rows in {CSV}; {len(chosen)} queries in {LOCAL}")


def _truth(run: Run[Params], keys: dict[str, str], query_words: NDArray[np.int64]) -> xr.Dataset:
    embeddings, leaf = run.open(EMBEDDINGS, keys), run.open(JUDGEMENTS, keys)
    judgements = read_judgements(leaf)
    return truth_of(
        judgements,
        judged_scores(embeddings.read("queries"), embeddings.blocks("documents"), judgements),
        run.labelled(EXACT_NEIGHBOURS, keys),
        self_row=leaf.read("self_row"),
        query_words=query_words,
        n_documents=embeddings.size("document"),
        k=run.params.k,
    )


def _texts_of(path: Path, wanted: Set[int]) -> dict[int, str]:
    """The texts of some rows; the others are passed by, so that memory does not grow with the corpus."""

    def texts() -> Iterator[str]:
        for batch in iter_texts(path, _BATCH):
            yield from batch

    return {row: text for row, text in enumerate(texts()) if row in wanted}
