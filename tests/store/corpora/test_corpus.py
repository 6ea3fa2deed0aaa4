"""Row order, judgements, digest and the files of texts."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.corpora.corpus import (
    DOCUMENTS_FILE,
    QUERIES_FILE,
    Corpus,
    iter_texts,
    read_texts,
)
from store.errors import DamagedArtifact, MissingArtifact

DOCUMENTS = {f"d{i}": f"text of {i}" for i in range(8)}
QUERIES = {"q2": "two", "q1": "one", "q0": "nought", "d3": "three"}
JUDGEMENTS = {
    ("q2", "d5"): 2,
    ("q2", "d1"): 1,
    ("q2", "d0"): -1,
    ("d3", "d4"): 1,
    ("q0", "d7"): 0,
}


def small(exclude_self: bool = False) -> Corpus:
    return Corpus.build(
        DOCUMENTS, QUERIES, JUDGEMENTS, row_seed=0, exclude_self=exclude_self, counts={"read": 9}
    )


def test_rows_are_the_seeded_permutation_of_the_sorted_ids() -> None:
    corpus = small()
    expected = [sorted(DOCUMENTS)[i] for i in np.random.RandomState(0).permutation(8)]
    assert list(corpus.document_ids) == expected
    assert list(corpus.document_texts) == [DOCUMENTS[name] for name in expected]
    assert expected != sorted(DOCUMENTS)
    other = Corpus.build(DOCUMENTS, QUERIES, JUDGEMENTS, row_seed=1, exclude_self=False)
    assert other.document_ids != corpus.document_ids
    assert other.query_ids == corpus.query_ids


def test_each_part_of_a_collection_that_grew_is_permuted_by_itself() -> None:
    sizes = (3, 7)
    grown = Corpus.build(DOCUMENTS, QUERIES, JUDGEMENTS, row_seed=0, exclude_self=False, grown_from=sizes)
    names = list(DOCUMENTS)
    earlier = {name: DOCUMENTS[name] for name in names[:3]}
    first = Corpus.build(earlier, QUERIES, {("q1", "d0"): 1}, row_seed=0, exclude_self=False)
    assert list(grown.document_ids[:3]) == list(first.document_ids)
    assert sorted(grown.document_ids[3:7]) == names[3:7]
    assert list(grown.document_ids[3:7]) == [names[3:7][i] for i in np.random.RandomState(0).permutation(4)]
    assert grown.document_ids[7:] == names[7:]
    shuffled = {
        name: DOCUMENTS[name] for part in (names[:3], names[3:7], names[7:]) for name in reversed(part)
    }
    other = Corpus.build(shuffled, QUERIES, JUDGEMENTS, row_seed=0, exclude_self=False, grown_from=sizes)
    assert other.digest == grown.digest


def test_only_queries_with_a_relevant_document_stay_and_negative_judgements_of_theirs() -> None:
    corpus = small()
    assert list(corpus.query_ids) == ["d3", "q2"]
    assert list(corpus.query_texts) == ["three", "two"]
    judged = corpus.judgements
    assert {a.dtype for a in (judged.query, judged.document, judged.relevance)} == {np.dtype(np.int32)}
    named = {
        (corpus.query_ids[q], corpus.document_ids[d]): r
        for q, d, r in zip(judged.query, judged.document, judged.relevance, strict=True)
    }
    assert named == {pair: grade for pair, grade in JUDGEMENTS.items() if pair[0] != "q0"}
    assert dict(corpus.counts) == {"read": 9, "documents": 8, "queries": 2, "judgements": 4, "distractors": 5}


def test_self_rows_are_given_only_where_they_are_to_be_left_out() -> None:
    assert small(exclude_self=False).self_row.tolist() == [-1, -1]
    corpus = small(exclude_self=True)
    assert corpus.self_row.tolist() == [list(corpus.document_ids).index("d3"), -1]


def test_arrays_cannot_be_written_to() -> None:
    corpus = small(exclude_self=True)
    for array in (corpus.judgements.query, corpus.judgements.relevance, corpus.self_row):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 3


ids = st.text("aB0é", min_size=1, max_size=3)
texts = st.text("xé\n", max_size=4)


@given(
    documents=st.dictionaries(ids, texts, min_size=1, max_size=12),
    queries=st.dictionaries(ids, texts, min_size=1, max_size=6),
    data=st.data(),
)
def test_the_order_of_the_input_decides_nothing(
    documents: dict[str, str], queries: dict[str, str], data: st.DataObject
) -> None:
    pairs = st.tuples(st.sampled_from(sorted(queries)), st.sampled_from(sorted(documents)))
    judgements = data.draw(st.dictionaries(pairs, st.integers(-2, 3)))
    one = Corpus.build(documents, queries, judgements, row_seed=0, exclude_self=True)
    other = Corpus.build(
        dict(data.draw(st.permutations(list(documents.items())))),
        dict(data.draw(st.permutations(list(queries.items())))),
        dict(data.draw(st.permutations(list(judgements.items())))),
        row_seed=0,
        exclude_self=True,
    )
    assert one.digest == other.digest
    assert list(one.query_ids) == sorted({query for (query, _), grade in judgements.items() if grade > 0})
    order = list(zip(one.judgements.query, one.judgements.document, strict=True))
    assert order == sorted(set(order))
    np.testing.assert_array_equal(one.self_row, other.self_row)


def test_rows_know_nothing_of_judgements() -> None:
    other = Corpus.build(DOCUMENTS, QUERIES, {("q1", "d0"): 1}, row_seed=0, exclude_self=False)
    assert list(other.document_ids) == list(small().document_ids)


@pytest.mark.parametrize(
    ("documents", "queries", "judgements"),
    [
        (DOCUMENTS | {"d0": "other text"}, QUERIES, JUDGEMENTS),
        ({name if name != "d6" else "d9": text for name, text in DOCUMENTS.items()}, QUERIES, JUDGEMENTS),
        (DOCUMENTS, QUERIES | {"q2": "zwei"}, JUDGEMENTS),
        (DOCUMENTS, QUERIES, JUDGEMENTS | {("q2", "d1"): 3}),
        (DOCUMENTS, QUERIES, JUDGEMENTS | {("q2", "d2"): 0}),
    ],
    ids=["text", "id", "query", "grade", "judgement"],
)
def test_the_digest_sees_every_part(
    documents: dict[str, str], queries: dict[str, str], judgements: dict[tuple[str, str], int]
) -> None:
    assert (
        Corpus.build(documents, queries, judgements, row_seed=0, exclude_self=False).digest != small().digest
    )


def test_the_digest_does_not_run_texts_together() -> None:
    one = Corpus.build({"a": "bc", "d": "e"}, {"q": "x"}, {("q", "a"): 1}, row_seed=0, exclude_self=False)
    other = Corpus.build({"a": "b", "cd": "e"}, {"q": "x"}, {("q", "a"): 1}, row_seed=0, exclude_self=False)
    assert one.digest != other.digest


def test_the_digest_is_that_of_the_documented_serialisation() -> None:
    corpus = small()
    sha = hashlib.sha256()
    for column in (corpus.document_ids, corpus.document_texts, corpus.query_ids, corpus.query_texts):
        sha.update(struct.pack("<Q", len(column)))
        for text in column:
            sha.update(struct.pack("<Q", len(text.encode())) + text.encode())
    judged = corpus.judgements
    for numbers in (judged.query, judged.document, judged.relevance):
        sha.update(struct.pack("<Q", 4 * len(judged)) + struct.pack(f"<{len(judged)}i", *numbers.tolist()))
    assert corpus.digest == sha.hexdigest()


def long_corpus() -> Corpus:
    documents = {f"d{i:04}": "é\n" * (i % 7) + str(i) for i in range(2100)}
    return Corpus.build(documents, {"q": "x\0y"}, {("q", "d0003"): 1}, row_seed=0, exclude_self=False)


def test_texts_come_back_in_row_order(tmp_path: Path) -> None:
    corpus = long_corpus()
    corpus.write_texts(tmp_path / "texts")
    documents, queries = tmp_path / "texts" / DOCUMENTS_FILE, tmp_path / "texts" / QUERIES_FILE
    assert read_texts(documents) == list(corpus.document_texts)
    assert read_texts(queries) == ["x\0y"]
    batches = list(iter_texts(documents, 500))
    assert [len(batch) for batch in batches] == [500, 500, 500, 500, 100]
    assert [text for batch in batches for text in batch] == list(corpus.document_texts)
    for first in (0, 1, 1023, 1024, 1500, 2099, 2100):
        rest = [text for batch in iter_texts(documents, 700, first) for text in batch]
        assert rest == list(corpus.document_texts)[first:]


def test_ids_and_row_groups_of_the_file(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    corpus = long_corpus()
    corpus.write_texts(tmp_path)
    file = pq.ParquetFile(tmp_path / DOCUMENTS_FILE)
    assert file.read(["id"]).column(0).to_pylist() == list(corpus.document_ids)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [1024, 1024, 52]
    assert file.metadata.row_group(0).column(1).compression == "ZSTD"


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path) -> None:
    long_corpus().write_texts(tmp_path / "one")
    long_corpus().write_texts(tmp_path / "two")
    for name in (DOCUMENTS_FILE, QUERIES_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_missing_texts_name_the_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"documents\.parquet: .*run the corpus stage"):
        read_texts(tmp_path / DOCUMENTS_FILE)


def test_cut_off_or_flipped_texts_are_damaged(tmp_path: Path) -> None:
    long_corpus().write_texts(tmp_path)
    path = tmp_path / DOCUMENTS_FILE
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 4] ^= 1
    for damaged in (whole[:-20], bytes(flipped), b"not parquet"):
        path.write_bytes(damaged)
        with pytest.raises(
            DamagedArtifact, match=r"documents\.parquet: not a readable file of texts; remove it"
        ):
            read_texts(path)


def test_another_table_is_damaged(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"]}), tmp_path / DOCUMENTS_FILE)
    with pytest.raises(DamagedArtifact, match="not a readable file of texts"):
        read_texts(tmp_path / DOCUMENTS_FILE)


def test_a_batch_has_at_least_one_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        next(iter_texts(tmp_path / DOCUMENTS_FILE, 0))
