"""The worst lost queries of a study with their texts, for the person at this machine: never part of the lake.

Definitions: docs/failures.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.failures.compare import HAMMING_MARGIN, NONE, Failures, displacing, k_occurrence

SHOWN_WORDS = 40
"""Words shown of a document."""

SHOWN_DISPLACING = 3
"""Displacing documents shown of a query."""


@dataclass(frozen=True)
class Displacing:
    """A document found in place of an exact neighbour: in how many seeds, and its mean k-occurrence in these."""

    row: int
    seeds: int
    occurrence: float


@dataclass(frozen=True, eq=False)
class LostQuery:
    """A query where it is lost worst; ``times`` counts the comparisons of its dataset in which it is lost."""

    failures: Failures
    query: int
    times: int
    comparisons: int
    answer_row: int
    displacing: tuple[Displacing, ...]


def worst(failures: Sequence[Failures], number: int) -> list[LostQuery]:
    """The queries with the largest loss, among equal losses those with the smallest Hamming margin.

    Each query is given once, for the model and length at which it is lost worst. Remaining ties go to the earlier
    comparison and the smaller row.
    """
    lost = [(at, int(query)) for at, found in enumerate(failures) for query in np.flatnonzero(found.lost)]

    def badness(entry: tuple[int, int]) -> tuple[float, float, int, int]:
        at, query = entry
        found = failures[at]
        margins = found.covariates.get(HAMMING_MARGIN)
        margin = 0.0 if margins is None or np.isnan(margins[query]) else float(margins[query])
        return -float(found.loss[query]), margin, at, query

    comparisons = Counter(found.truth.dataset for found in failures)
    times = Counter((failures[at].truth.dataset, query) for at, query in lost)
    chosen: dict[tuple[str, int], LostQuery] = {}
    for at, query in sorted(lost, key=badness):
        if len(chosen) == number:
            break
        found = failures[at]
        dataset = found.truth.dataset
        if (dataset, query) not in chosen:
            answer = found.truth.answers()[query]
            chosen[dataset, query] = LostQuery(
                failures=found,
                query=query,
                times=times[dataset, query],
                comparisons=comparisons[dataset],
                answer_row=NONE if answer == NONE else int(found.truth.judgements.document[answer]),
                displacing=displacing_documents(found, query),
            )
    return list(chosen.values())


def displacing_documents(found: Failures, query: int) -> tuple[Displacing, ...]:
    """What displaced a query's exact neighbours, in most seeds first, then the larger hub, then the smaller row."""
    seeds: dict[int, list[int]] = defaultdict(list)
    outside = displacing(found.loser.rows[:, query : query + 1], found.truth.rows[query : query + 1])
    for rows, where in zip(found.loser.rows, outside, strict=True):
        occurrence = k_occurrence(rows, found.truth.n_documents)
        for row in rows[query][where[0]].tolist():
            seeds[row].append(int(occurrence[row]))
    documents = [Displacing(row, len(counts), sum(counts) / len(counts)) for row, counts in seeds.items()]
    return tuple(sorted(documents, key=lambda found: (-found.seeds, -found.occurrence, found.row)))


def wanted_documents(queries: Sequence[LostQuery]) -> dict[str, set[int]]:
    """Rows, by dataset, of the documents whose texts `markdown` shows."""
    rows: dict[str, set[int]] = defaultdict(set)
    for lost in queries:
        shown = {found.row for found in lost.displacing[:SHOWN_DISPLACING]} | {lost.answer_row}
        rows[lost.failures.truth.dataset] |= shown - {NONE}
    return dict(rows)


def markdown(
    study: str,
    queries: Sequence[LostQuery],
    query_texts: Mapping[str, Sequence[str]],
    document_texts: Mapping[str, Mapping[int, str]],
) -> str:
    """The local report. Texts are by dataset, those of documents by row as `wanted_documents` asks for them."""
    lines = [
        f"# The worst lost queries of the study {study}",
        "",
        "This file holds texts of the corpora: it stays on this machine and is never committed or pushed.",
        "What lost, loss and every figure mean: docs/failures.md.",
    ]
    if not queries:
        lines += ["", "No query is lost."]
    for number, lost in enumerate(queries, start=1):
        found = lost.failures
        dataset, seeds = found.truth.dataset, len(found.loser.rows)
        documents = document_texts.get(dataset, {})
        lines += [
            "",
            f"## {number}. {dataset}, query row {lost.query}",
            "",
            f"{found.truth.model} at {found.bits} bits, k = {found.truth.k}: {found.loser.codec} loses "
            f"{found.loss[lost.query]:.3f} of the recall of {found.keeper.codec}. Lost in {lost.times} of "
            f"{lost.comparisons} comparisons (model, bits) of the dataset.",
            "",
            "| " + " | ".join(found.covariates) + " |",
            "| " + " | ".join("---" for _ in found.covariates) + " |",
            "| " + " | ".join(f"{values[lost.query]:.4g}" for values in found.covariates.values()) + " |",
            "",
            # In a fence texts stand as they are; a line of it starts with our own words, so none can end it.
            "```text",
            f"query: {' '.join(query_texts[dataset][lost.query].split())}",
            f"relevant: {_beginning(documents[lost.answer_row]) if lost.answer_row != NONE else 'none'}",
        ]
        lines += [
            f"instead ({one.seeds} of {seeds} seeds, k-occurrence {one.occurrence:.4g}): "
            f"{_beginning(documents[one.row])}"
            for one in lost.displacing[:SHOWN_DISPLACING]
        ]
        lines.append("```")
    return "\n".join(lines) + "\n"


def _beginning(text: str) -> str:
    words = text.split()
    return " ".join(words[:SHOWN_WORDS]) + (" …" if len(words) > SHOWN_WORDS else "")
