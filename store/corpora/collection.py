"""From the tables of a collection to a corpus: what belongs together is checked, and a subsample drawn.

Judgements are read first, then queries, then documents in one pass, so that a collection is never held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from store.corpora.corpus import Corpus
from store.corpora.drawn import Drawn
from store.errors import InvalidInput

if TYPE_CHECKING:
    from store.corpora.spec import Beir


class Text(NamedTuple):
    """A document or a query, and its row in the table, from 1."""

    row: int
    name: str
    text: str


class Pair(NamedTuple):
    """A judged pair, and its row in the table, from 1."""

    row: int
    query: str
    document: str
    relevance: int


R = TypeVar("R")


@dataclass(frozen=True)
class Rows(Generic[R]):
    """The rows of a table, to be gone through once.

    ``label`` names the table and ``unit`` its rows in messages; ``remedy`` is what to do about a wrong table that
    the reader cannot edit, None where it can.
    """

    rows: Iterable[R]
    label: str
    unit: str = "row"
    remedy: str | None = None

    def error(self, row: int, problem: str, advice: str) -> InvalidInput:
        """What is wrong with a row; the advice is for who can edit it."""
        return InvalidInput(f"{self.label} {self.unit} {row}: {problem}; {self.remedy or advice}")

    def whole(self, problem: str, advice: str) -> InvalidInput:
        """What is wrong with the table."""
        return InvalidInput(f"{self.label}: {problem}; {self.remedy or advice}")


@dataclass(frozen=True)
class Tables:
    """The tables of a collection; ``training`` are the judgements whose queries are set apart, if any."""

    documents: Rows[Text]
    queries: Rows[Text]
    judgements: Rows[Pair]
    training: Rows[Pair] | None


def read_tables(tables: Tables, spec: Beir, row_seed: int, scratch: Path) -> Corpus:
    """The corpus that ``spec`` asks for; texts wait in a nameless file in ``scratch`` until they are written.

    Queries without a judgement above 0 in the split are left out. Training queries are drawn from those that the
    training split judges and the reported one does not.

    Raises `InvalidInput` with one line that names the table and, where it can, the row.
    """
    rows = _judgements(tables.judgements)
    judgements = {pair: relevance for pair, (_, relevance) in rows.items()}
    judged = {query for query, _ in judgements}
    answered = {query for (query, _), relevance in judgements.items() if relevance > 0}
    if not answered:
        raise tables.judgements.whole(
            "zero queries are left, for none has a judgement above 0", "name another split"
        )
    apart = {pair.query for pair in tables.training.rows} - judged if tables.training else set()
    queries, training, asked = _queries(tables.queries, judged, apart, spec, scratch)
    _check_known(rows, tables, 0, queries, "query", "queries.jsonl")
    documents, seen, empty = _documents(tables, {document for _, document in judgements}, spec, scratch)
    _check_known(rows, tables, 1, documents, "document", "corpus.jsonl")
    # Whatever else is wrong is named first: a passage that is missing also makes the collection smaller.
    kept = {document for _, document in judgements}
    if spec.max_documents is not None and len(documents) < spec.max_documents:
        raise InvalidInput(
            f"max_documents: {spec.max_documents} documents are asked for, {tables.documents.label} has "
            f"{len(documents)}; lower it or set it to null"
        )
    if spec.grown_from and spec.grown_from[-1] >= len(documents):
        raise InvalidInput(
            f"grown_from: {spec.grown_from[-1]} is not below the {len(documents)} documents of "
            f"{tables.documents.label}; list only sizes that the collection had before it grew"
        )
    return Corpus.build(
        documents,
        queries,
        judgements,
        row_seed=row_seed,
        exclude_self=spec.exclude_self,
        grown_from=spec.grown_from,
        training=training,
        counts={
            "queries not judged in the split": asked - len(judged),
            "queries without a relevant document": len(judged) - len(answered),
            **({"training queries": len(training)} if spec.training else {}),
            **({"empty documents passed over": empty} if empty else {}),
            **(
                {
                    "documents in the collection": seen,
                    "documents judged": len(kept),
                    "documents drawn": len(documents) - len(kept),
                }
                if spec.max_documents is not None
                else {}
            ),
        },
    )


def _judgements(table: Rows[Pair]) -> dict[tuple[str, str], tuple[int, int]]:
    """(row, relevance) by (query, document)."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row, query, document, relevance in table.rows:
        if (query, document) in found:
            raise table.error(
                row,
                f"duplicate judgement of query {query!r} and document {document!r}, "
                f"first on {table.unit} {found[query, document][0]}",
                "keep one",
            )
        found[query, document] = (row, relevance)
    if not found:
        raise table.whole("holds no judgements", "name another split or complete the file")
    return found


def _queries(
    table: Rows[Text], judged: set[str], apart: set[str], spec: Beir, scratch: Path
) -> tuple[dict[str, str], Mapping[str, str], int]:
    """The judged queries, those set apart, and how many there are altogether."""
    most = spec.training.max_queries if spec.training else 0
    training = Drawn(scratch, judged=frozenset(), others=most, seed=spec.seed)
    queries: dict[str, str] = {}
    row_of: dict[str, int] = {}
    for row, name, text in table.rows:
        if name in row_of:
            raise _duplicate(table, row, name, row_of[name])
        row_of[name] = row
        if not text.strip():
            raise table.error(row, f"empty text of {name!r}", "give it text or drop the line")
        if name in judged:
            queries[name] = text
        elif name in apart:
            training.offer(row, name, text)
    if not row_of:
        raise table.whole("holds no queries", "complete the collection")
    return queries, training, len(row_of)


def _documents(tables: Tables, judged: set[str], spec: Beir, scratch: Path) -> tuple[Drawn, int, int]:
    """The documents that are kept, how many there are altogether, and how many of these have no text."""
    table = tables.documents
    others = None
    if spec.max_documents is not None:
        others = spec.max_documents - len(judged)
        if others < 0:
            raise InvalidInput(
                f"max_documents: {spec.max_documents} is fewer than the {len(judged)} documents that "
                f"{tables.judgements.label} judges; raise it"
            )
    documents = Drawn(scratch, judged=judged, others=others, seed=spec.seed)
    seen = empty = 0
    for row, name, text in table.rows:
        seen += 1
        if name in documents:
            raise _duplicate(table, row, name, documents.row(name))
        if not text.strip():
            # Nobody could mend a row of the hub, and one that no judgement names is not missed.
            if table.remedy is None or name in judged:
                raise table.error(row, f"empty text of {name!r}", "give it text or drop the line")
            empty += 1
            continue
        documents.offer(row, name, text)
    if not documents:
        raise table.whole("holds no documents", "complete the collection")
    return documents, seen, empty


def _duplicate(table: Rows[Text], row: int, name: str, first: int) -> InvalidInput:
    return table.error(row, f"duplicate _id {name!r}, first on {table.unit} {first}", "make ids unique")


def _check_known(
    rows: Mapping[tuple[str, str], tuple[int, int]],
    tables: Tables,
    which: int,
    known: Mapping[str, str],
    kind: str,
    file: str,
) -> None:
    for pair, (row, _) in rows.items():
        if pair[which] not in known:
            raise tables.judgements.error(
                row, f"judges the unknown {kind} {pair[which]!r}", f"add it to {file} or drop the line"
            )
