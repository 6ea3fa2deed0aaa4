"""A collection in the layout of BEIR: a folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``.

Where there is no such folder, the hub may have the collection (`store.corpora.hub`).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.corpora.collection import Pair, Rows, Tables, Text, read_tables
from store.corpora.corpus import Corpus
from store.corpora.hub import hub_tables
from store.errors import InvalidInput

if TYPE_CHECKING:
    from store.corpora.spec import Beir

DATA_VARIABLE = "BITLAKE_DATA"
_EXPERIMENTS = (".dvc", "tmp", "exps")
_HEADER = ["query-id", "corpus-id", "score"]
_INTEGER = re.compile(r"[+-]?[0-9]{1,16}(\.0*)?", re.ASCII)
_LINE_BYTES = 1 << 26
"""Upper bound of a line, compressed or not: it is held as a whole."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def data_root(project: Path) -> Path:
    """The folder of collections: ``BITLAKE_DATA`` of the environment, else ``<project>/../shared/data``.

    An experiment that DVC runs in a copy of the project, inside its own folder, reads what the project reads.
    """
    if chosen := os.environ.get(DATA_VARIABLE):
        return Path(chosen).expanduser()
    parts = project.resolve().parts
    for at in range(len(parts) - len(_EXPERIMENTS)):
        if parts[at : at + len(_EXPERIMENTS)] == _EXPERIMENTS:
            project = Path(*parts[:at])
            break
    return project.parent / "shared" / "data"


def read_beir(spec: Beir, root: Path, row_seed: int, scratch: Path) -> Corpus:
    """The corpus of the collection at ``root / spec.path``, or on the hub where there is no such folder.

    An absolute path stands for itself. Title and text of a document are joined by one space, as MTEB does. Files
    are gone through once, line by line; texts wait in a nameless file in ``scratch``.

    Raises `InvalidInput` with one line that names the table and, where it can, the row; `UnavailableResource` where
    the hub does not give the collection.
    """
    folder = root / spec.path if spec.path is not None else None
    if folder is not None and folder.is_dir():
        tables = _folder_tables(folder, spec)
    elif spec.hub is not None:
        tables = hub_tables(spec.hub, spec)
    else:
        raise InvalidInput(
            f"path: no folder {folder}; put the collection there, set {DATA_VARIABLE} to the folder that "
            "holds it, or correct path"
        )
    return read_tables(tables, spec, row_seed, scratch)


def _folder_tables(folder: Path, spec: Beir) -> Tables:
    documents, queries = _there(folder / "corpus.jsonl"), _there(folder / "queries.jsonl")

    def judgements(split: str) -> Rows[Pair]:
        path = _there(folder / "qrels" / f"{split}.tsv")
        return Rows(_read_judgements(path), str(path), "line")

    return Tables(
        Rows(_read_texts(documents, titles=True), str(documents), "line"),
        Rows(_read_texts(queries, titles=False), str(queries), "line"),
        judgements(spec.split),
        judgements(spec.training.split) if spec.training else None,
    )


def _there(path: Path) -> Path:
    """A file, or the compressed one that stands in for it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.exists() and not path.exists() else path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines of a UTF-8 file that are not blank, from 1, without their line ends."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES + 1), b""), start=1):
                if len(line) > _LINE_BYTES:
                    raise InvalidInput(f"{path} line {number}: has more than {_LINE_BYTES:,} bytes; cut it")
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
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path}: is no whole gzip file ({error}); copy it again") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}); make it a readable file") from None


def _read_texts(path: Path, *, titles: bool) -> Iterator[Text]:
    for number, line in _lines(path):
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = getattr(error, "msg", "nested too deeply")
            raise InvalidInput(f"{where}: broken JSON ({problem}); correct it") from None
        if not isinstance(record, dict):
            raise InvalidInput(f"{where}: expected a JSON object with _id and text; correct the line")
        name = _id(record, where)
        text = "" if record.get("text", "") is None else _string(record, "text", where)
        if titles and record.get("title") is not None:
            text = f"{_string(record, 'title', where)} {text}".strip()
        yield Text(number, name, text)


def _id(record: dict[str, Any], where: str) -> str:
    """Ids are text, but some collections have them as numbers, or under the name ``id``."""
    key = "_id" if "_id" in record or "id" not in record else "id"
    if type(record.get(key)) is int:
        return str(record[key])
    name = _string(record, key, where)
    if not name:
        raise InvalidInput(f"{where}: {key} is empty; give every line an id")
    return name


def _string(record: dict[str, Any], key: str, where: str) -> str:
    if key not in record:
        raise InvalidInput(f"{where}: {key} is missing; add it")
    value = record[key]
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: {key} must be a string, got {type(value).__name__}; put it in quotes")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{where}: {key} holds half a surrogate pair; correct it") from None
    return value


def _read_judgements(path: Path) -> Iterator[Pair]:
    lines = _lines(path)
    number, header = next(lines, (1, ""))
    names = header.split("\t")
    if names not in (_HEADER, _HEADER[:2]):
        raise InvalidInput(
            f"{path} line {number}: expected the header query-id, corpus-id, score with tabs between; add it"
        )
    for number, line in lines:
        where = f"{path} line {number}"
        columns = line.split("\t")
        if len(columns) != len(names):
            raise InvalidInput(
                f"{where}: expected {len(names)} columns with tabs between, got {len(columns)}; correct it"
            )
        query, document, score = (*columns, "1")[:3]
        if not _INTEGER.fullmatch(score) or not -(2**31) <= int(float(score)) < 2**31:
            raise InvalidInput(f"{where}: score must be a whole number of 32 bits, got {score!r}; correct it")
        if not query or not document:
            raise InvalidInput(f"{where}: an id is empty; correct it")
        yield Pair(number, query, document, int(float(score)))
