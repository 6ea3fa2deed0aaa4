"""A collection in the BEIR folder layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.corpora.corpus import Corpus
from store.errors import InvalidInput

if TYPE_CHECKING:
    from store.corpora.spec import Beir

DATA_VARIABLE = "BITLAKE_DATA"
_HEADER = ["query-id", "corpus-id", "score"]
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def data_root(project: Path) -> Path:
    """The folder of collections: ``BITLAKE_DATA`` of the environment, else ``<project>/../shared/data``."""
    chosen = os.environ.get(DATA_VARIABLE)
    return Path(chosen).expanduser() if chosen else project.parent / "shared" / "data"


def read_beir(spec: Beir, root: Path, row_seed: int) -> Corpus:
    """The corpus of the collection at ``root / spec.path``; an absolute path stands for itself.

    Title and text of a document are joined by one space, as MTEB does. Queries without a judgement above 0 in
    the split are left out. Files are read line by line; the texts themselves are held once.

    Raises `InvalidInput` with one line that names the file and, where it can, the line.
    """
    folder = root / spec.path
    if not folder.is_dir():
        raise InvalidInput(
            f"path: no folder {folder}; put the collection there, set {DATA_VARIABLE} to the folder that "
            "holds it, or correct path"
        )
    documents_file = folder / "corpus.jsonl"
    documents = _read_texts(documents_file, titles=True)
    if spec.grown_from and spec.grown_from[-1] >= len(documents):
        raise InvalidInput(
            f"grown_from: {spec.grown_from[-1]} is not below the {len(documents)} documents of {documents_file}; "
            "list only sizes that the collection had before it grew"
        )
    queries = _read_texts(folder / "queries.jsonl", titles=False)
    judgements_file = folder / "qrels" / f"{spec.split}.tsv"
    judgements = _read_judgements(judgements_file, documents, queries)
    if not judgements:
        raise InvalidInput(f"{judgements_file}: holds no judgements; name another split or complete the file")
    judged = {query for query, _ in judgements}
    answered = {query for (query, _), relevance in judgements.items() if relevance > 0}
    if not answered:
        raise InvalidInput(
            f"{judgements_file}: zero queries are left, for none has a judgement above 0; name another split"
        )
    return Corpus.build(
        documents,
        queries,
        judgements,
        row_seed=row_seed,
        exclude_self=spec.exclude_self,
        grown_from=spec.grown_from,
        counts={
            "queries not judged in the split": len(queries) - len(judged),
            "queries without a relevant document": len(judged) - len(answered),
        },
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines of a UTF-8 file that are not blank, from 1, without their line ends."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                try:
                    text = line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    raise InvalidInput(f"{path} line {number}: is not UTF-8; convert the file") from None
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        raise InvalidInput(
            f"{path}: no such file; complete the collection or correct path or split"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}); make it a readable file") from None


def _read_texts(path: Path, *, titles: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = getattr(error, "msg", "nested too deeply")
            raise InvalidInput(f"{where}: broken JSON ({problem}); mend it") from None
        if not isinstance(record, dict):
            raise InvalidInput(f"{where}: expected a JSON object with _id and text; mend the line")
        name = _string(record, "_id", where)
        text = _string(record, "text", where)
        if titles and record.get("title") is not None:
            text = f"{_string(record, 'title', where)} {text}".strip()
        if not name:
            raise InvalidInput(f"{where}: _id is empty; give every line an id")
        if name in texts:
            raise InvalidInput(
                f"{where}: duplicate _id {name!r}, first on line {line_of[name]}; make ids unique"
            )
        if not text.strip():
            raise InvalidInput(f"{where}: empty text of {name!r}; give it text or drop the line")
        texts[name] = text
        line_of[name] = number
    if not texts:
        kind = "documents" if titles else "queries"
        raise InvalidInput(f"{path}: holds no {kind}; complete the collection")
    return texts


def _string(record: dict[str, Any], key: str, where: str) -> str:
    if key not in record:
        raise InvalidInput(f"{where}: {key} is missing; add it")
    value = record[key]
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: {key} must be a string, got {type(value).__name__}; put it in quotes")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{where}: {key} holds half a surrogate pair; mend it") from None
    return value


def _read_judgements(
    path: Path, documents: dict[str, str], queries: dict[str, str]
) -> dict[tuple[str, str], int]:
    judgements: dict[tuple[str, str], int] = {}
    line_of: dict[tuple[str, str], int] = {}
    lines = _lines(path)
    number, header = next(lines, (1, ""))
    if header.split("\t") != _HEADER:
        raise InvalidInput(
            f"{path} line {number}: expected the header query-id, corpus-id, score with tabs between; add it"
        )
    for number, line in lines:
        where = f"{path} line {number}"
        columns = line.split("\t")
        if len(columns) != len(_HEADER):
            raise InvalidInput(f"{where}: expected 3 columns with tabs between, got {len(columns)}; mend it")
        query, document, score = columns
        if not _INTEGER.fullmatch(score) or not -(2**31) <= int(score) < 2**31:
            raise InvalidInput(f"{where}: score must be a whole number of 32 bits, got {score!r}; mend it")
        if query not in queries:
            raise InvalidInput(
                f"{where}: judges the unknown query {query!r}; add it to queries.jsonl or drop the line"
            )
        if document not in documents:
            raise InvalidInput(
                f"{where}: judges the unknown document {document!r}; add it to corpus.jsonl or drop the line"
            )
        if (query, document) in judgements:
            raise InvalidInput(
                f"{where}: duplicate judgement of query {query!r} and document {document!r}, "
                f"first on line {line_of[query, document]}; keep one"
            )
        judgements[query, document] = int(score)
        line_of[query, document] = number
    return judgements
