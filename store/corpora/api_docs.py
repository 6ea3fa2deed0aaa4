"""Known-item search made from API documentation: find the body of a docstring by its summary line.

The query is the summary, the document is the rest of the docstring, the judgement is the pair. Judgements are
sparse by nature: another document may answer a summary as well without being judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from store.corpora.corpus import Corpus
from store.corpora.docstrings import Docstring, read_docstrings, split_docstring
from store.corpora.near_identical import leaders, words
from store.errors import InvalidInput

if TYPE_CHECKING:
    from store.corpora.spec import ApiDocs

NEAR_IDENTICAL = 0.8
"""Least Jaccard similarity of the word triples of two bodies that are one document."""

MIN_QUERY_WORDS = 2


def read_api_docs(spec: ApiDocs, row_seed: int) -> Corpus:
    """The corpus of ``spec``, read from the installed sources of its packages without importing them.

    Bodies of fewer than ``min_words`` words are dropped; near-identical bodies are one document, which
    answers the summaries of them all; summaries that are equal but for case, punctuation and white space are
    one query. Then ``spec.seed`` draws the documents and, among their queries, the queries; documents whose
    queries were not drawn, and those whose summary has fewer than two words, stay as distractors.
    ``row_seed`` draws the order of rows.

    Raises `InvalidInput` where a package is not installed or nothing is left.
    """
    return corpus_of(read_docstrings(spec.packages), spec, row_seed)


def corpus_of(docstrings: Sequence[Docstring], spec: ApiDocs, row_seed: int) -> Corpus:
    """`read_api_docs` once the docstrings are read; their order decides only the suffixes of equal names."""
    entries = []
    bodies = []
    # The name with the fewest parts comes first and so represents its near-identical bodies.
    for name, text in _unique_names(docstrings):
        summary, body = split_docstring(text)
        body, body_words = _without_lines_like(summary, body)
        if len(body.split()) >= spec.min_words:
            entries.append((name, summary, body))
            bodies.append(body_words)
    leader = leaders(bodies, NEAR_IDENTICAL)

    documents: dict[str, str] = {}
    answers: defaultdict[str, set[str]] = defaultdict(set)
    wording: dict[str, tuple[str, str]] = {}
    for row, (_, summary, _) in enumerate(entries):
        document, _, body = entries[leader[row]]
        documents[document] = body
        key = words(summary)
        if len(key) >= MIN_QUERY_WORDS:
            answers[" ".join(key)].add(document)
            wording.setdefault(" ".join(key), (f"q:{entries[row][0]}", summary))

    random = np.random.RandomState(spec.seed)
    chosen = set(_draw(sorted(documents), spec.max_documents, random))
    open_queries = sorted(key for key, found in answers.items() if found & chosen)
    drawn = _draw(open_queries, spec.max_queries, random)
    if not drawn:
        raise InvalidInput(
            f"min_words: no docstring of {', '.join(spec.packages)} has a summary and a body of "
            f"{spec.min_words} words; lower min_words or name other packages"
        )
    return Corpus.build(
        {document: documents[document] for document in chosen},
        dict(wording[key] for key in drawn),
        {(wording[key][0], document): 1 for key in drawn for document in answers[key] & chosen},
        row_seed=row_seed,
        exclude_self=spec.exclude_self,
        counts={
            "docstrings read": len(docstrings),
            "too short": len(docstrings) - len(entries),
            "near-identical merged": len(entries) - len(documents),
            "dropped by the cap": len(documents) - len(chosen),
            "queries not drawn": len(open_queries) - len(drawn),
        },
    )


def _unique_names(docstrings: Sequence[Docstring]) -> list[tuple[str, str]]:
    """(name, text), the names with the fewest parts first; the second of a name is called ``name-2``."""
    found = []
    times: defaultdict[str, int] = defaultdict(int)
    for docstring in docstrings:
        times[docstring.name] += 1
        suffix = f"-{times[docstring.name]}" if times[docstring.name] > 1 else ""
        found.append((docstring.name + suffix, docstring.text))
    return sorted(found, key=lambda named: (named[0].count("."), named[0]))


def _without_lines_like(summary: str, body: str) -> tuple[str, list[str]]:
    """(body, its words), the body without lines that repeat the whole summary: they would give it away."""
    answer, found = words(summary), words(body)
    if answer and f" {' '.join(answer)} " in f" {' '.join(found)} ":
        body = "\n".join(line for line in body.splitlines() if words(line) != answer)
        found = words(body)
    return body, found


def _draw(sorted_names: Sequence[str], at_most: int, random: np.random.RandomState) -> list[str]:
    return [sorted_names[i] for i in random.permutation(len(sorted_names))[:at_most]]
