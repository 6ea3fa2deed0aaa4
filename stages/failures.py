"""Failure modes: queries that binary codes lose and PQ of the same bytes keeps, the reverse, and what they share."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint

from analysis.failures.compare import COLUMNS, Failures, Found, Truth, compare_codecs, judged_scores, table
from analysis.failures.worst import markdown, wanted_documents, worst
from analysis.quality.results import csv_text
from pipeline.judged import read_judgements
from pipeline.stage import DATASET, STUDY, Run, Section, Stage
from store.artifacts.configuration import read_configurations
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS, EXACT_NEIGHBOURS, QUANTIZED_NEIGHBOURS
from store.corpora.corpus import DOCUMENTS_FILE, QUERIES_FILE, iter_texts, read_texts
from store.errors import InvalidInput
from store.leaf.commit import write_file
from store.leaf.reading import Leaf

CSV = "report/failures.csv"
LOCAL = "report/local/worst-queries.md"
"""Holds texts: ignored by Git and unknown to DVC, which keeps it from being committed or pushed."""

STAGE = Stage(
    name="failures",
    per=STUDY,
    section="failures",
    reads=(EMBEDDINGS, JUDGEMENTS, EXACT_NEIGHBOURS, BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS),
    reads_texts=True,
    files=(CSV,),
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
    found: list[Failures] = []
    reverse: list[Failures] = []
    for keys in run.study.cells():
        truth = _truth(run, keys, np.array([len(text.split()) for text in queries[keys[DATASET]]], np.int64))
        codec = _found(run.open(BINARY_NEIGHBOURS, keys), "codec", settings.codec, settings.k)
        reference = _found(run.open(QUANTIZED_NEIGHBOURS, keys), "reference", settings.reference, settings.k)
        for bits in sorted(codec.keys() & reference.keys()):
            lost, opposite = compare_codecs(truth, bits, codec[bits], reference[bits], settings.cut)
            found.append(lost)
            reverse.append(opposite)
    both = [side for pair in zip(found, reverse, strict=True) for side in pair]
    rows = table(both, draws=settings.draws, seed=settings.seed, confidence=settings.confidence)
    write_file(run.layout, run.layout.root / CSV, csv_text(rows, COLUMNS).encode())

    chosen = worst(found, settings.worst)
    documents = {
        name: _texts_of(run.layout.corpus(name) / DOCUMENTS_FILE, wanted)
        for name, wanted in wanted_documents(chosen).items()
    }
    content = markdown(run.study.name, chosen, queries, documents)
    write_file(run.layout, run.layout.root / LOCAL, content.encode())
    run.say(f"{len(found)} comparisons, {len(rows)} rows in {CSV}; {len(chosen)} queries in {LOCAL}")


def _truth(run: Run[Params], keys: dict[str, str], query_words: NDArray[np.int64]) -> Truth:
    embeddings, leaf = run.open(EMBEDDINGS, keys), run.open(JUDGEMENTS, keys)
    exact = run.open(EXACT_NEIGHBOURS, keys)
    judgements = read_judgements(leaf)
    first = (0, slice(None), slice(run.params.k))
    return Truth(
        **keys,
        judgements=judgements,
        judged_score=judged_scores(embeddings.read("queries"), embeddings.blocks("documents"), judgements),
        self_row=leaf.read("self_row"),
        rows=exact.read("rows", first),
        scores=exact.read("scores", first),
        query_words=query_words,
        n_documents=embeddings.size("document"),
    )


def _found(leaf: Leaf, setting: str, codec: str, k: int) -> dict[int, Found]:
    """The plain searches of one codec by bits, the seeds of each stacked."""
    configurations = read_configurations(leaf)
    if k > leaf.size("rank"):
        raise InvalidInput(
            f"failures.k: {k} is more than the {leaf.size('rank')} ranks that were searched; lower it"
        )
    plain = [
        index
        for index, one in enumerate(configurations)
        if one.codec == codec and not one.variant and not one.rescore
    ]
    if not plain:
        known = ", ".join(sorted({one.codec for one in configurations}))
        raise InvalidInput(f"failures.{setting}: {codec!r} was not searched; choose one of {known}")
    by_bits: dict[int, list[int]] = {}
    for index in plain:
        by_bits.setdefault(configurations[index].bits, []).append(index)

    def of(indices: list[int]) -> Found:
        rows = np.stack([leaf.read("rows", (index, slice(None), slice(k))) for index in indices])
        if leaf.schema is BINARY_NEIGHBOURS:
            kth = np.stack([leaf.read("distances", (index, slice(None), k - 1)) for index in indices])
            judged = np.stack([leaf.read("judged_distance", index) for index in indices])
            return Found(codec, rows, kth, judged)
        return Found(codec, rows, undertrained=codec in leaf.attributes["undertrained"])

    return {bits: of(indices) for bits, indices in by_bits.items()}


def _texts_of(path: Path, wanted: Set[int]) -> dict[int, str]:
    """The texts of some rows; the others are passed by, so that memory does not grow with the corpus."""

    def texts() -> Iterator[str]:
        for batch in iter_texts(path, _BATCH):
            yield from batch

    return {row: text for row, text in enumerate(texts()) if row in wanted}
