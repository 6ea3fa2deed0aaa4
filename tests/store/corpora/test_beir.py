"""Collections in the BEIR folder layout, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.corpora.beir import data_root, read_beir
from store.corpora.corpus import Corpus
from store.corpora.spec import Beir
from store.errors import InvalidInput
from tests.paths import ROOT
from tests.stages.projects import beir_entry

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A right collection at ``tmp_path / "small"``; tests spoil one file of it."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": "a", "title": "Cells", "text": "divide."},
        {"_id": "b", "title": "", "text": "Bone grows. "},
        {"_id": "c", "text": "No title.", "metadata": {}},
        {"_id": "d", "title": "Only a title", "text": ""},
        {"_id": "e", "title": None, "text": "Title is null."},
    ]
    queries = [
        {"_id": "1", "text": "Do cells divide?"},
        {"_id": "2", "text": "Bone?"},
        {"_id": "b", "text": "B"},
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))
    (folder / "qrels" / "test.tsv").write_text(HEADER + "1\ta\t1\n1\tc\t0\nb\tb\t2\nb\ta\t1\n")
    return folder


def beir(path: str, **changes: object) -> Beir:
    """An entry for a collection in the folder ``path``, whole."""
    return Beir.model_validate(beir_entry(path) | changes)


def read(
    folder: Path, *, split: str = "test", exclude_self: bool = False, grown_from: tuple[int, ...] = ()
) -> Corpus:
    entry = beir(folder.name, split=split, exclude_self=exclude_self, grown_from=grown_from)
    return read_beir(entry, folder.parent, 0, folder.parent / "scratch")


def test_a_collection_that_grew_keeps_the_rows_it_had(collection: Path) -> None:
    before = read(collection)
    more = "".join(json.dumps({"_id": name, "text": f"more {name}"}) + "\n" for name in ("0", "aa", "z"))
    (collection / "corpus.jsonl").write_text((collection / "corpus.jsonl").read_text() + more)
    grown = read(collection, grown_from=(5,))
    assert list(grown.document_ids[:5]) == list(before.document_ids)
    assert list(grown.document_texts[:5]) == list(before.document_texts)
    assert sorted(grown.document_ids[5:]) == ["0", "aa", "z"]
    assert list(read(collection).document_ids[:5]) != list(before.document_ids)


@pytest.mark.parametrize("sizes", [(5,), (2, 9)])
def test_a_collection_did_not_grow_from_what_it_is_or_more(collection: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(
        InvalidInput, match=rf"^grown_from: {sizes[-1]} is not below the 5 documents of .*corpus\.jsonl; list"
    ):
        read(collection, grown_from=sizes)


def test_title_and_text_are_joined_as_mteb_does(collection: Path) -> None:
    corpus = read(collection)
    assert dict(zip(corpus.document_ids, corpus.document_texts, strict=True)) == {
        "a": "Cells divide.",
        "b": "Bone grows.",
        "c": "No title.",
        "d": "Only a title",
        "e": "Title is null.",
    }


def test_queries_and_judgements_are_those_of_the_split(collection: Path) -> None:
    (collection / "qrels" / "train.tsv").write_text(HEADER + "2\tb\t1\n")
    assert list(read(collection, split="train").query_texts) == ["Bone?"]
    corpus = read(collection)
    assert list(corpus.query_ids) == ["1", "b"]
    judged = corpus.judgements
    named = [
        (corpus.query_ids[q], corpus.document_ids[d], r)
        for q, d, r in zip(judged.query, judged.document, judged.relevance.tolist(), strict=True)
    ]
    assert sorted(named) == [("1", "a", 1), ("1", "c", 0), ("b", "a", 1), ("b", "b", 2)]
    assert dict(corpus.counts) == {
        "queries not judged in the split": 1,
        "queries without a relevant document": 0,
        "documents": 5,
        "queries": 2,
        "judgements": 4,
        "distractors": 3,
    }


def test_the_document_that_is_the_query_is_named_on_request(collection: Path) -> None:
    corpus = read(collection, exclude_self=True)
    assert corpus.self_row.tolist() == [-1, list(corpus.document_ids).index("b")]
    assert read(collection, exclude_self=False).self_row.tolist() == [-1, -1]


def test_an_absolute_path_stands_for_itself(collection: Path, tmp_path: Path) -> None:
    corpus = read_beir(beir(str(collection)), tmp_path / "nowhere", 0, tmp_path)
    assert corpus.digest == read(collection).digest


def test_byte_order_mark_blank_lines_and_line_ends_do_not_matter(collection: Path) -> None:
    digest = read(collection).digest
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        path = collection / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert read(collection).digest == digest


def test_line_separators_within_a_text_do_not_end_a_line(collection: Path) -> None:
    line = json.dumps({"_id": "f", "text": "one\u2028two\u0085three"}, ensure_ascii=False) + "\n"
    with (collection / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)
    assert "one\u2028two\u0085three" in read(collection).document_texts


CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (CORPUS, '{"_id": "f", "text": "cut', r"corpus\.jsonl line 6: broken JSON \(Unterminated string"),
        (CORPUS, "[" * 100_000, r"corpus\.jsonl line 6: broken JSON \(nested too deeply\)"),
        (CORPUS, "[1]", "line 6: expected a JSON object with _id and text"),
        (CORPUS, '{"text": "x"}', "line 6: _id is missing; add it"),
        (CORPUS, '{"_id": "f"}', "line 6: text is missing; add it"),
        (CORPUS, '{"_id": 6.5, "text": "x"}', "line 6: _id must be a string, got float; put it in quotes"),
        (CORPUS, '{"_id": "f", "text": 7}', "line 6: text must be a string, got int"),
        (CORPUS, '{"_id": "f", "title": 3, "text": "x"}', "line 6: title must be a string, got int"),
        (CORPUS, '{"_id": "", "text": "x"}', "line 6: _id is empty"),
        (
            CORPUS,
            '{"_id": "b", "text": "x"}',
            "line 6: duplicate _id 'b', first on line 2 with another text; make ids unique",
        ),
        (CORPUS, '{"_id": "f", "text": "\\ud800"}', "line 6: text holds half a surrogate pair"),
        (QUERIES, '{"_id": "2", "text": "x"}', r"queries\.jsonl line 4: duplicate _id '2', first on line 2"),
        (QRELS, "1\ta", r"test\.tsv line 6: expected 3 columns with tabs between, got 2"),
        (QRELS, "1 a 1", "line 6: expected 3 columns with tabs between, got 1"),
        (QRELS, "2\tb\t1.5", "line 6: score must be a whole number of 32 bits, got '1.5'"),
        (QRELS, "2\tb\t4294967296", "line 6: score must be a whole number of 32 bits, got '4294967296'"),
        (QRELS, "9\tb\t1", r"line 6: judges the unknown query '9'; add it to queries\.jsonl"),
        (QRELS, "2\tz\t1", r"line 6: judges the unknown document 'z'; add it to corpus\.jsonl"),
        (
            QRELS,
            "1\tc\t1",
            "line 6: duplicate judgement of query '1' and document 'c', first on line 3 with another score; keep one",
        ),
    ],
)
def test_a_wrong_line_is_named(collection: Path, file: str, line: str, message: str) -> None:
    with (collection / file).open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(InvalidInput, match=message) as caught:
        read(collection)
    assert "\n" not in str(caught.value)
    assert Path(file).name in str(caught.value)


@pytest.mark.parametrize("file", [CORPUS, QUERIES, QRELS])
def test_a_line_that_is_not_utf8_is_named(collection: Path, file: str) -> None:
    lines = (collection / file).read_bytes().splitlines(keepends=True)
    lines[1] = b"\xff\xfe\n"
    (collection / file).write_bytes(b"".join(lines))
    with pytest.raises(InvalidInput, match=f"{Path(file).name} line 2: is not UTF-8"):
        read(collection)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (CORPUS, "", r"corpus\.jsonl: holds no documents"),
        (QUERIES, "\n\n", r"queries\.jsonl: holds no queries"),
        (QRELS, "", r"test\.tsv line 1: expected the header query-id, corpus-id, score"),
        (QRELS, "1\ta\t1\n", r"test\.tsv line 1: expected the header"),
        (QRELS, "query-id\tcorpus-id\trelevance\n1\ta\t1\n", r"test\.tsv line 1: expected the header"),
        (QRELS, HEADER, r"test\.tsv: holds no judgements; name another split"),
        (QRELS, HEADER + "1\ta\t0\n2\tb\t-1\n", r"test\.tsv: zero queries are left"),
    ],
)
def test_a_wrong_file_is_named(collection: Path, file: str, content: str, message: str) -> None:
    (collection / file).write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read(collection)


def test_what_is_missing_is_named(collection: Path) -> None:
    with pytest.raises(InvalidInput, match=r"dev\.tsv: no such file; .* correct path or split"):
        read(collection, split="dev")
    with pytest.raises(InvalidInput, match=r"path: no folder .*absent; .* set BITLAKE_DATA"):
        read(collection.parent / "absent")
    (collection / QUERIES).unlink()
    with pytest.raises(InvalidInput, match=r"queries\.jsonl: no such file"):
        read(collection)
    (collection / QUERIES).mkdir()
    with pytest.raises(InvalidInput, match=r"queries\.jsonl: cannot be read \(Is a directory\)"):
        read(collection)


def test_an_experiment_in_a_copy_reads_what_the_project_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`dvc exp run --temp`, and experiments of a queue."""
    monkeypatch.delenv("BITLAKE_DATA", raising=False)
    expected = tmp_path / "shared/data"
    assert data_root(tmp_path / "project") == expected
    assert data_root(tmp_path / "project/.dvc/tmp/exps/tmpk1x_8") == expected
    assert data_root(tmp_path / "project/.dvc/tmp/exps/temp/tmpk1x_8") == expected


def test_the_environment_names_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITLAKE_DATA", str(tmp_path / "mine"))
    assert data_root(tmp_path / "project") == tmp_path / "mine"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("BITLAKE_DATA")
        else:
            monkeypatch.setenv("BITLAKE_DATA", unset)
        assert data_root(tmp_path / "project") == tmp_path / "shared" / "data"


def test_scifact_has_the_published_size(tmp_path: Path) -> None:
    root = data_root(ROOT)
    if not (root / "scifact").is_dir():
        pytest.skip("SciFact is not in BITLAKE_DATA or ../shared/data")
    corpus = read_beir(beir("scifact"), root, 0, tmp_path)
    sizes = {name: corpus.counts[name] for name in ("documents", "queries", "judgements")}
    assert sizes == {"documents": 5183, "queries": 300, "judgements": 339}
    assert set(corpus.judgements.relevance.tolist()) == {1}
