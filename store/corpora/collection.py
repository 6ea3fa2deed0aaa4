"""From the tables of a collection to a corpus: what belongs together is checked, and a subsample drawn.

Judgements are read first, then queries, then documents in one pass, so that a collection is never held as a whole.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

from store.corpora.corpus import Corpus
from store.corpora.drawn import Drawn
from store.errors import InvalidInput

if TYPE_CHECKING:
    from store.corpora.spec import Beir, Kind


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

    def error(self, row: int, problem: str, advice: str, kind: Kind) -> InvalidInput:
        """What is wrong with a row; the advice is for who can edit it, the kind for `Beir.drop` for whoever cannot."""
        return InvalidInput(
            f"{self.label} {self.unit} {row}: {problem}; {self.remedy or advice}, or add {kind} to drop of this "
            "dataset in params.yaml"
        )

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
    training split judges and the reported one does not. What changes no figure (empty texts that nobody judged, what
    is given twice alike, another Unicode form of an id) is passed over and counted; what does is refused, or dropped
    and counted where ``spec.drop`` says so.

    Raises `InvalidInput` with one line that names the table and, where it can, the row.
    """
    return _Reading(tables, spec, scratch).corpus(row_seed)


Pairs: TypeAlias = dict[tuple[str, str], tuple[int, int]]
"""(row, relevance) by (query, document)."""


class _Reading:
    """One pass through the tables of a collection, and the tally of what was passed over."""

    def __init__(self, tables: Tables, spec: Beir, scratch: Path) -> None:
        self._tables, self._spec, self._scratch = tables, spec, scratch
        self._tally: Counter[str] = Counter()
        self._empty: set[str] = set()

    def corpus(self, row_seed: int) -> Corpus:
        spec, tables = self._spec, self._tables
        pairs = self._judgements()
        judged = {query for query, _ in pairs}
        apart = {self._id(pair.query) for pair in tables.training.rows} - judged if tables.training else set()
        queries, training, asked = self._queries(judged, apart)
        pairs = self._known(pairs, 0, queries, "query", "queries.jsonl")
        named = {document for _, document in pairs}
        documents, seen = self._documents(named)
        pairs = self._known(pairs, 1, documents, "document", "corpus.jsonl")
        kept = {document for _, document in pairs}
        self._check_sizes(len(documents), absent=len(named - kept))
        judged = {query for query, _ in pairs}
        answered = _answered(tables.judgements, pairs)
        return Corpus.build(
            documents,
            queries,
            {pair: relevance for pair, (_, relevance) in pairs.items()},
            row_seed=row_seed,
            exclude_self=spec.exclude_self,
            grown_from=spec.grown_from,
            training=training,
            counts={
                "queries not judged in the split": asked - len(judged),
                "queries without a relevant document": len(judged) - len(answered),
                **({"training queries": len(training)} if spec.training else {}),
                **dict(sorted(self._tally.items())),
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

    def _id(self, name: str) -> str:
        """An id in the composed Unicode form, in which systems that decompose names are told apart from none."""
        plain = unicodedata.normalize("NFC", name)
        self._tally.update({"ids in another Unicode form": 1} if plain != name else {})
        return plain

    def _passes_over(self, what: str, kind: Kind) -> bool:
        """Whether to drop what changes figures; counted then."""
        self._tally.update({f"{what} dropped": 1} if kind in self._spec.drop else {})
        return kind in self._spec.drop

    def _judgements(self) -> Pairs:
        table, found = self._tables.judgements, Pairs()
        conflicting = set()
        for row, query, document, relevance in table.rows:
            pair = self._id(query), self._id(document)
            if pair not in found:
                found[pair] = (row, relevance)
            elif found[pair][1] == relevance:
                self._tally["judgements given twice alike"] += 1
            elif self._passes_over("judgements that contradict others", "conflicting"):
                conflicting.add(pair)
            else:
                raise table.error(
                    row,
                    f"duplicate judgement of query {query!r} and document {document!r}, "
                    f"first on {table.unit} {found[pair][0]} with another score",
                    "keep one",
                    "conflicting",
                )
        if not found:
            raise table.whole("holds no judgements", "name another split or complete the file")
        found = {pair: judgement for pair, judgement in found.items() if pair not in conflicting}
        _answered(table, found)
        return found

    def _queries(self, judged: set[str], apart: set[str]) -> tuple[dict[str, str], Mapping[str, str], int]:
        """The judged queries, those set apart, and how many there are altogether."""
        table, spec = self._tables.queries, self._spec
        most = spec.training.max_queries if spec.training else 0
        training = Drawn(self._scratch, judged=frozenset(), others=most, seed=spec.seed)
        queries: dict[str, str] = {}
        seen: dict[str, tuple[int, int]] = {}
        for row, given, text in table.rows:
            name = self._id(given)
            if name in seen:
                first, known = seen[name]
                self._check_repeated(table, row, name, first, alike=known == hash(text), what="queries")
                continue
            if not text.strip():
                self._check_empty(table, row, name, is_judged=name in judged, what="queries")
                continue
            seen[name] = (row, hash(text))
            if name in judged:
                queries[name] = text
            elif name in apart:
                training.offer(row, name, text)
        if not seen:
            raise table.whole("holds no queries", "complete the collection")
        return queries, training, len(seen)

    def _documents(self, judged: set[str]) -> tuple[Drawn, int]:
        """The documents that are kept, and how many there are altogether."""
        table, spec = self._tables.documents, self._spec
        others = None
        if spec.max_documents is not None:
            others = spec.max_documents - len(judged)
            if others < 0:
                raise InvalidInput(
                    f"max_documents: {spec.max_documents} is fewer than the {len(judged)} documents that "
                    f"{self._tables.judgements.label} judges; raise it"
                )
        documents = Drawn(self._scratch, judged=judged, others=others, seed=spec.seed)
        seen = 0
        for row, given, text in table.rows:
            seen += 1
            name = self._id(given)
            if name in documents:
                alike = documents[name] == text
                self._check_repeated(table, row, name, documents.row(name), alike=alike, what="documents")
            elif not text.strip():
                self._check_empty(table, row, name, is_judged=name in judged, what="documents")
            else:
                documents.offer(row, name, text)
        if not documents:
            raise table.whole("holds no documents", "complete the collection")
        return documents, seen

    def _check_repeated(
        self, table: Rows[Text], row: int, name: str, first: int, *, alike: bool, what: str
    ) -> None:
        if alike:
            self._tally[f"{what} given twice alike"] += 1
        elif not self._passes_over(f"{what} with the id of another", "repeated"):
            raise table.error(
                row,
                f"duplicate _id {name!r}, first on {table.unit} {first} with another text",
                "make ids unique",
                "repeated",
            )

    def _check_empty(self, table: Rows[Text], row: int, name: str, *, is_judged: bool, what: str) -> None:
        if not is_judged:
            self._tally[f"empty {what} passed over"] += 1
        elif self._passes_over(f"empty {what} with judgements", "empty"):
            self._empty.add(name)
        else:
            raise table.error(
                row, f"empty text of {name!r}, which is judged", "give it text or drop the line", "empty"
            )

    def _known(self, pairs: Pairs, which: int, known: Mapping[str, str], kind: str, file: str) -> Pairs:
        """The judgements of what is there."""
        found = Pairs()
        for pair, (row, relevance) in pairs.items():
            if pair[which] in known:
                found[pair] = (row, relevance)
            elif pair[which] not in self._empty and not self._passes_over(
                "judgements of what is not there", "dangling"
            ):
                raise self._tables.judgements.error(
                    row,
                    f"judges the unknown {kind} {pair[which]!r}",
                    f"add it to {file} or drop the line",
                    "dangling",
                )
        return found

    def _check_sizes(self, documents: int, absent: int) -> None:
        """Whatever else is wrong was named before: a passage that is missing also makes the collection smaller."""
        spec, label = self._spec, self._tables.documents.label
        if spec.max_documents is not None and documents + absent < spec.max_documents:
            raise InvalidInput(
                f"max_documents: {spec.max_documents} documents are asked for, {label} has {documents}; lower it or "
                "set it to null"
            )
        if spec.grown_from and spec.grown_from[-1] >= documents:
            raise InvalidInput(
                f"grown_from: {spec.grown_from[-1]} is not below the {documents} documents of {label}; list only sizes "
                "that the collection had before it grew"
            )


def _answered(table: Rows[Pair], pairs: Pairs) -> set[str]:
    """Queries with a judgement above 0, of which there has to be one."""
    answered = {query for (query, _), (_, relevance) in pairs.items() if relevance > 0}
    if not answered:
        raise table.whole("zero queries are left, for none has a judgement above 0", "name another split")
    return answered
