"""The worst lost queries of a study with their texts, for the person at this machine: never part of the lake.

Definitions: docs/failures.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.failures.cell import NONE
from analysis.failures.compare import HAMMING_MARGIN, displacing, k_occurrence

if TYPE_CHECKING:
    import xarray as xr

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
    """A query where it is lost worst; ``times`` counts the comparisons of its dataset in which it is lost.

    ``failures`` is that comparison, as `compare_codecs` gives it.
    """

    failures: xr.Dataset
    query: int
    times: int
    comparisons: int
    answer_row: int
    displacing: tuple[Displacing, ...]


def worst(failures: Sequence[xr.Dataset], number: int) -> list[LostQuery]:
    """The queries with the largest loss, among equal losses those with the smallest Hamming margin.

    Each query is given once, for the model and length at which it is lost worst. Remaining ties go to the earlier
    comparison and the smaller row.
    """
    lost = [
        (at, int(query))
        for at, found in enumerate(failures)
        for query in np.flatnonzero(found["lost"].values)
    ]
    losses = [found["loss"].values for found in failures]
    margins = [
        np.nan_to_num(found["value"].sel(covariate=HAMMING_MARGIN).values)
        if HAMMING_MARGIN in found["covariate"].values
        else np.zeros(found.sizes["query"])
        for found in failures
    ]

    def badness(entry: tuple[int, int]) -> tuple[float, float, int, int]:
        at, query = entry
        return -float(losses[at][query]), float(margins[at][query]), at, query

    comparisons = Counter(found.attrs["dataset"] for found in failures)
    times = Counter((failures[at].attrs["dataset"], query) for at, query in lost)
    chosen: dict[tuple[str, int], LostQuery] = {}
    for at, query in sorted(lost, key=badness):
        if len(chosen) == number:
            break
        found = failures[at]
        dataset = found.attrs["dataset"]
        if (dataset, query) not in chosen:
            chosen[dataset, query] = LostQuery(
                failures=found,
                query=query,
                times=times[dataset, query],
                comparisons=comparisons[dataset],
                answer_row=int(found["answer_row"].values[query]),
                displacing=displacing_documents(found, query),
            )
    return list(chosen.values())


def displacing_documents(found: xr.Dataset, query: int) -> tuple[Displacing, ...]:
    """What displaced a query's exact neighbours, in most seeds first, then the larger hub, then the smaller row."""
    seeds: dict[int, list[int]] = defaultdict(list)
    of_seeds = found["found_rows"].transpose("seed", "query", "rank").values
    exact = found["exact_rows"].transpose("query", "rank").values
    outside = displacing(of_seeds[:, query : query + 1], exact[query : query + 1])
    for rows, where in zip(of_seeds, outside, strict=True):
        occurrence = k_occurrence(rows, found.attrs["n_documents"])
        for row in rows[query][where[0]].tolist():
            seeds[row].append(int(occurrence[row]))
    documents = [Displacing(row, len(counts), sum(counts) / len(counts)) for row, counts in seeds.items()]
    return tuple(sorted(documents, key=lambda one: (-one.seeds, -one.occurrence, one.row)))


def wanted_documents(queries: Sequence[LostQuery]) -> dict[str, set[int]]:
    """Rows, by dataset, of the documents whose texts `markdown` shows."""
    rows: dict[str, set[int]] = defaultdict(set)
    for lost in queries:
        shown = {found.row for found in lost.displacing[:SHOWN_DISPLACING]} | {lost.answer_row}
        rows[lost.failures.attrs["dataset"]] |= shown - {NONE}
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
        found, of = lost.failures, lost.failures.attrs
        dataset, seeds = of["dataset"], found.sizes["seed"]
        documents = document_texts.get(dataset, {})
        covariates = found["covariate"].values.tolist()
        values = found["value"].isel(query=lost.query).values
        lines += [
            "",
            f"## {number}. {dataset}, query row {lost.query}",
            "",
            f"{of['model']} at {of['bits']} bits, k = {of['k']}: {of['lost_by']} loses "
            f"{found['loss'].values[lost.query]:.3f} of the recall of {of['kept_by']}. Lost in {lost.times} of "
            f"{lost.comparisons} comparisons (model, bits) of the dataset.",
            "",
            "| " + " | ".join(covariates) + " |",
            "| " + " | ".join("---" for _ in covariates) + " |",
            "| " + " | ".join(f"{value:.4g}" for value in values) + " |",
            "",
            # A fenced block shows texts unchanged; each line starts with our own words, so no text can end the block.
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
