"""The corpus: documents, queries and judgements of one dataset, in row order.

Rows are a seeded permutation of the sorted document ids: ties go to the smaller row, so the order of rows
must be independent of judgements (and of a file in which the judged documents may come first). A collection that
has grown is permuted part by part, so that rows of its earlier sizes keep their places.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from store.errors import DamagedArtifact, MissingArtifact

if TYPE_CHECKING:
    import pyarrow.parquet as pq

DOCUMENTS_FILE = "documents.parquet"
QUERIES_FILE = "queries.parquet"
TRAINING_FILE = "training.parquet"
_ROW_GROUP = 1024


@dataclass(frozen=True, eq=False)
class Judgements:
    """Judged pairs, one row a pair, sorted by (query, document).

    ``query`` and ``document`` are row numbers, int32 (judgement,); ``relevance`` int32 (judgement,): above 0
    is relevant, 0 and below is judged not relevant.
    """

    query: NDArray[np.int32]
    document: NDArray[np.int32]
    relevance: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True, eq=False)
class Corpus:
    """One dataset in row order: row i of ids and texts is one document, or one query.

    ``self_row`` int32 (query,): the row of the document to leave out of the query's results because it is the
    query itself, -1 for none. ``training_ids`` and ``training_texts`` are queries set apart for adapters, sorted by
    id; no judgement names them. ``counts`` says how the corpus came about.
    """

    document_ids: Sequence[str]
    document_texts: Sequence[str]
    query_ids: Sequence[str]
    query_texts: Sequence[str]
    judgements: Judgements
    self_row: NDArray[np.int32]
    training_ids: Sequence[str]
    training_texts: Sequence[str]
    counts: Mapping[str, int]

    @classmethod
    def build(
        cls,
        documents: Mapping[str, str],
        queries: Mapping[str, str],
        judgements: Mapping[tuple[str, str], int],
        *,
        row_seed: int,
        exclude_self: bool,
        grown_from: Sequence[int] = (),
        training: Mapping[str, str] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> Corpus:
        """Bring texts by id and relevance by (query id, document id) into row order, drawn by ``row_seed``.

        ``grown_from`` cuts the documents, in the order given, into consecutive parts.
        Queries without a judgement above 0 are left out with their judgements; the others are sorted by id.
        Every judged id must be among the documents and queries. Texts are looked up when they are read, so a
        mapping that keeps them elsewhere keeps them out of memory. ``training`` are queries set apart.
        """
        document_ids = _row_order(list(documents), row_seed, grown_from)
        document_row = {name: row for row, name in enumerate(document_ids)}
        query_ids = sorted({query for (query, _), relevance in judgements.items() if relevance > 0})
        query_row = {name: row for row, name in enumerate(query_ids)}
        rows = sorted(
            (query_row[query], document_row[document], relevance)
            for (query, document), relevance in judgements.items()
            if query in query_row
        )
        columns = np.array(rows, dtype=np.int32).reshape(-1, 3).T.copy()
        columns.setflags(write=False)
        self_row = np.array(
            [document_row.get(q, -1) if exclude_self else -1 for q in query_ids], dtype=np.int32
        )
        self_row.setflags(write=False)
        answers = {document for _, document, relevance in rows if relevance > 0}
        return cls(
            document_ids=document_ids,
            document_texts=_Texts(documents, document_ids),
            query_ids=query_ids,
            query_texts=_Texts(queries, query_ids),
            judgements=Judgements(*columns),
            self_row=self_row,
            training_ids=sorted(training or ()),
            training_texts=_Texts(training or {}, sorted(training or ())),
            counts={
                **(counts or {}),
                "documents": len(document_ids),
                "queries": len(query_ids),
                "judgements": len(rows),
                "distractors": len(document_ids) - len(answers),
            },
        )

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, over ids, texts and judgements in row order; training queries are no part of it.

        Each text is preceded by its length in bytes, so that no two corpora have the same serialisation.
        """
        texts = (self.document_ids, self.document_texts, self.query_ids, self.query_texts)
        return _digest([(len(some), some) for some in texts], self.judgements)

    def write_texts(self, folder: Path) -> None:
        """Write ``documents.parquet`` and ``queries.parquet`` (columns id, text) into ``folder``.

        ``training.parquet`` is a third where queries are set apart. The same corpus gives the same bytes for one
        version of pyarrow, which is in the footer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        _write_parquet(folder / DOCUMENTS_FILE, self.document_ids, self.document_texts)
        _write_parquet(folder / QUERIES_FILE, self.query_ids, self.query_texts)
        if self.training_ids:
            _write_parquet(folder / TRAINING_FILE, self.training_ids, self.training_texts)


def stored_digest(folder: Path, judgements: Judgements) -> str:
    """`Corpus.digest` of the texts in ``folder``, as ``write_texts`` left them, and of ``judgements`` of them.

    Memory is bounded by one row group. Raises `MissingArtifact` where a file is not there.
    """
    columns = []
    for name in (DOCUMENTS_FILE, QUERIES_FILE):
        file = _open_parquet(folder / name)
        rows = file.metadata.num_rows
        file.close()
        for column in ("id", "text"):
            batches = _iter_column(folder / name, column, _ROW_GROUP)
            columns.append((rows, itertools.chain.from_iterable(batches)))
    return _digest(columns, judgements)


def _digest(columns: Iterable[tuple[int, Iterable[str]]], judgements: Judgements) -> str:
    """SHA-256 over columns of texts, each with its length, and over the judgements."""
    sha = hashlib.sha256()

    def add(content: bytes) -> None:
        sha.update(len(content).to_bytes(8, "little"))
        sha.update(content)

    for rows, texts in columns:
        sha.update(rows.to_bytes(8, "little"))
        for text in texts:
            add(text.encode("utf-8"))
    for column in (judgements.query, judgements.document, judgements.relevance):
        add(column.astype("<i4").tobytes())
    return sha.hexdigest()


class _Texts(Sequence[str]):
    """The texts of ``ids``, looked up one at a time."""

    def __init__(self, texts: Mapping[str, str], ids: Sequence[str]) -> None:
        self._texts, self._ids = texts, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._texts[name] for name in self._ids[index]]
        return self._texts[self._ids[index]]


def _row_order(ids: Sequence[str], row_seed: int, grown_from: Sequence[int]) -> list[str]:
    """Each part of ``ids``, sorted and then permuted; the order within a part decides nothing."""
    order: list[str] = []
    for start, end in itertools.pairwise((0, *grown_from, len(ids))):
        part = sorted(ids[start:end])
        order += [part[i] for i in np.random.RandomState(row_seed).permutation(len(part))]
    return order


def iter_texts(path: Path, batch: int, first: int = 0) -> Iterator[list[str]]:
    """The texts of a file of ``write_texts`` in row order from row ``first`` on, ``batch`` at a time.

    The last batch may be shorter. Memory is bounded by one row group (1,024 texts) and one batch, not by the file.
    """
    return _iter_column(path, "text", batch, first)


def _iter_column(path: Path, column: str, batch: int, first: int = 0) -> Iterator[list[str]]:
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    file = _open_parquet(path)
    try:
        skipped, inside = divmod(first, _ROW_GROUP)
        groups = range(skipped, file.num_row_groups)
        texts: list[str] = []
        for part in file.iter_batches(_ROW_GROUP, row_groups=groups, columns=[column], use_threads=False):
            texts += part.column(0).to_pylist()[inside:]
            inside = 0
            while len(texts) >= batch:
                yield texts[:batch]
                texts = texts[batch:]
        if texts:
            yield texts
    except OSError as error:
        raise _damaged(path) from error
    finally:
        file.close()


def read_texts(path: Path) -> list[str]:
    """All texts of a file of ``write_texts``, in row order."""
    return [text for texts in iter_texts(path, _ROW_GROUP) for text in texts]


def _write_parquet(path: Path, ids: Sequence[str], texts: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)]
    )
    with pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        for start in range(0, len(ids), _ROW_GROUP):
            rows = slice(start, start + _ROW_GROUP)
            table = pa.table({"id": list(ids[rows]), "text": list(texts[rows])}, schema=schema)
            writer.write_table(table, row_group_size=_ROW_GROUP)


def _open_parquet(path: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise MissingArtifact(f"{path}: the texts are not here; run the corpus stage of this dataset")
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if file.schema_arrow.names != ["id", "text"]:
        file.close()
        raise _damaged(path)
    return file


def _damaged(path: Path) -> DamagedArtifact:
    return DamagedArtifact(f"{path}: not a readable file of texts; remove it and run the corpus stage again")
