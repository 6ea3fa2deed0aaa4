"""A collection on the Hugging Face hub: its files by the hub's client, its tables by the library `datasets`.

The files of the pinned revision come into the client's cache as they are, and the tables are read from there, row
by row. Asking `datasets` for the repository by name would convert every table to another copy first, and without the
network it would take the copy made last, of any revision.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.corpora.collection import Pair, Rows, Tables, Text
from store.errors import InvalidInput
from store.hub import snapshot

if TYPE_CHECKING:
    from store.corpora.spec import Beir, Repository

_DOWNLOADED = ["README.md", "*.parquet", "*.jsonl", "*.jsonl.gz"]
_BATCH = 1024
"""Rows of a table that are held at a time."""
_REMEDY = "name another revision or repository"


def hub_tables(repository: Repository, spec: Beir) -> Tables:
    """The tables of ``repository`` that ``spec`` needs, downloaded where they are not cached.

    Raises `InvalidInput` where the repository is not laid out as its entry says and `UnavailableResource` where it
    is not available.
    """
    folder = snapshot(repository.name, repository.revision, kind="dataset", field="hub", allowed=_DOWNLOADED)
    declared = _declared(folder, repository)

    def opened(field: str, config: str, split: str) -> tuple[str, Iterator[dict[str, list[Any]]]]:
        _check_declared(declared, repository, field, config, split)
        label = f"{repository.name} {config}/{split}"
        return label, _batches(folder, config, split, label)

    def texts(field: str, config: str, split: str, *, titles: bool) -> Rows[Text]:
        label, batches = opened(field, config, split)
        return Rows(_texts(batches, label, titles=titles), label, remedy=_REMEDY)

    def judgements(field: str, split: str) -> Rows[Pair]:
        label, batches = opened(field, repository.judgements, split)
        return Rows(_pairs(batches, label), label, remedy=_REMEDY)

    return Tables(
        texts("hub.corpus", repository.corpus.config, repository.corpus.split, titles=True),
        texts("hub.queries", repository.queries.config, repository.queries.split, titles=False),
        judgements("split", spec.split),
        judgements("training.split", spec.training.split) if spec.training else None,
    )


def _declared(folder: Path, repository: Repository) -> dict[str, dict[str, list[str]]]:
    """The patterns of data files by configuration and split, as ``README.md`` declares them."""
    from huggingface_hub import DatasetCard

    what = f"hub: {repository.name} at revision {repository.revision}"
    try:
        configs = DatasetCard.load(folder / "README.md").data.to_dict()["configs"]
        found = {config["config_name"]: _patterns(config) for config in configs}
    except Exception:  # any error that a missing or odd head of README.md causes in the libraries
        found = {}
    if not found:
        raise InvalidInput(
            f"{what} declares no configurations with data_files per split in its README.md; {_REMEDY}"
        )
    for config in found.values():
        for pattern in (pattern for patterns in config.values() for pattern in patterns):
            # An absolute path, an address or a chain of them would be opened as it is.
            if "://" in pattern or "::" in pattern or posixpath.isabs(pattern) or ".." in pattern.split("/"):
                raise InvalidInput(f"{what} declares the data file {pattern!r} outside of itself; {_REMEDY}")
    return found


def _patterns(config: dict[str, Any]) -> dict[str, list[str]]:
    files = config["data_files"]
    base = config.get("data_dir") or ""
    return {
        file["split"]: [
            posixpath.join(base, path)
            for path in ([file["path"]] if isinstance(file["path"], str) else file["path"])
        ]
        for file in files
    }


def _check_declared(
    declared: dict[str, dict[str, list[str]]], repository: Repository, field: str, config: str, split: str
) -> None:
    if config not in declared:
        at = f"{field}.config" if field.startswith("hub.") else "hub.judgements"
        raise InvalidInput(
            f"{at}: {repository.name} has no configuration {config!r}; it has {', '.join(sorted(declared))}"
        )
    if split not in declared[config]:
        at = f"{field}.split" if field.startswith("hub.") else field
        raise InvalidInput(
            f"{at}: configuration {config!r} of {repository.name} has no split {split!r}; it has "
            f"{', '.join(sorted(declared[config]))}"
        )


def _batches(folder: Path, config: str, split: str, label: str) -> Iterator[dict[str, list[Any]]]:
    """The columns of a table, `_BATCH` rows at a time."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    try:
        table = load_dataset(str(folder), config, split=split, streaming=True)
        for batch in table.with_format("arrow").iter(batch_size=_BATCH):
            yield batch.to_pydict()
    except Exception as error:  # any error that damaged files or undeclared columns cause in the libraries
        reason = " ".join(str(error).strip().partition("\n")[0].split())[:200] or type(error).__name__
        raise InvalidInput(
            f"{label}: cannot be read as its README.md declares it ({reason}); {_REMEDY}"
        ) from None


def _columns(batch: dict[str, list[Any]], wanted: Sequence[str], label: str) -> list[list[Any]]:
    for name in wanted:
        if name not in batch:
            raise InvalidInput(
                f"{label}: has no column {name}; its columns are {', '.join(sorted(batch))}; {_REMEDY}"
            )
    return [batch[name] for name in wanted]


def _texts(batches: Iterator[dict[str, list[Any]]], label: str, *, titles: bool) -> Iterator[Text]:
    row = 0
    for batch in batches:
        key = "_id" if "_id" in batch or "id" not in batch else "id"
        names, texts = _columns(batch, (key, "text"), label)
        heads = batch.get("title") if titles else None
        for at, (name, text) in enumerate(zip(names, texts, strict=True)):
            row += 1
            title = heads[at] if heads is not None else None
            body = "" if text is None else _string(text, "text", label, row)
            if title is not None:
                body = f"{_string(title, 'title', label, row)} {body}".strip()
            yield Text(row, _id(name, key, label, row), body)


def _pairs(batches: Iterator[dict[str, list[Any]]], label: str) -> Iterator[Pair]:
    row = 0
    for batch in batches:
        queries, documents = _columns(batch, ("query-id", "corpus-id"), label)
        others = sorted(set(batch) - {"query-id", "corpus-id", "score"})
        if others:
            # A relevance under another name would be lost silently.
            raise InvalidInput(
                f"{label}: the column {others[0]} is not one of query-id, corpus-id, score; {_REMEDY}"
            )
        scores = batch.get("score", [1] * len(queries))
        for query, document, score in zip(queries, documents, scores, strict=True):
            row += 1
            yield Pair(
                row,
                _id(query, "query-id", label, row),
                _id(document, "corpus-id", label, row),
                _score(score, label, row),
            )


def _id(value: Any, column: str, label: str, row: int) -> str:
    """Ids are text, but some repositories have them as numbers."""
    if type(value) is int:
        return str(value)
    if not _string(value, column, label, row):
        raise InvalidInput(f"{label} row {row}: {column} is empty; {_REMEDY}")
    return str(value)


def _string(value: Any, column: str, label: str, row: int) -> str:
    if not isinstance(value, str):
        raise InvalidInput(
            f"{label} row {row}: {column} must be a string, got {type(value).__name__}; {_REMEDY}"
        )
    return value


def _score(value: Any, label: str, row: int) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if not whole or not -(2**31) <= value < 2**31:
        raise InvalidInput(
            f"{label} row {row}: score must be a whole number of 32 bits, got {value!r}; {_REMEDY}"
        )
    return int(value)
