"""Collections from the wild, in a folder and on the hub by one rule.

What changes no figure is passed over and counted; what does is refused, and dropped where the entry says so.
"""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store.corpora import beir as module
from store.corpora.beir import read_beir
from store.corpora.spec import Beir
from store.errors import BitlakeError
from tests.hub_server import Hub, Repository, json_lines, readme
from tests.stages.projects import beir_entry
from tests.store.corpora.test_hub import CONFIGS, entry
from tests.store.hub_clients import Client

Rows = list[dict[str, Any]]
Read = Callable[..., dict[str, Any]]

DECOMPOSED, COMPOSED = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))
DOCUMENTS: Rows = [
    {"_id": "a", "title": "Cells", "text": "divide."},
    {"_id": "b", "title": None, "text": "Bone grows."},
    {"_id": "c", "title": "", "text": "Nothing asks for this."},
]
QUERIES: Rows = [{"_id": "1", "text": "Do cells divide?"}, {"_id": "2", "text": "Bone?"}]
PAIRS: list[tuple[Any, ...]] = [("1", "a", 1), ("2", "b", 2), ("2", "a", 0)]


@pytest.fixture(scope="module")
def hub() -> Hub:
    return Hub()


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with hub.serve() as server, Client(server.url, tmp_path_factory.mktemp("client")) as client:
        yield client


def in_folder(folder: Path, documents: Rows, queries: Rows, pairs: list[tuple[Any, ...]]) -> None:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(json_lines(documents))
    (folder / "queries.jsonl").write_bytes(json_lines(queries))
    lines = ["\t".join(map(str, pair)) for pair in pairs]
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines, ""]))


@pytest.fixture(params=["folder", "hub"])
def read(request: pytest.FixtureRequest, tmp_path: Path, hub: Hub) -> Read:
    def from_folder(documents: Rows, queries: Rows, pairs: Any, **changes: Any) -> dict[str, Any]:
        in_folder(tmp_path / "wild", documents, queries, pairs)
        spec = Beir.model_validate(beir_entry("wild") | changes)
        try:
            corpus = read_beir(spec, tmp_path, 0, tmp_path / "scratch")
        except BitlakeError as error:
            return {"error": str(error)}
        judgements = corpus.judgements
        return {
            "documents": dict(zip(corpus.document_ids, corpus.document_texts, strict=True)),
            "queries": dict(zip(corpus.query_ids, corpus.query_texts, strict=True)),
            "judgements": [
                [corpus.query_ids[query], corpus.document_ids[document], int(relevance)]
                for query, document, relevance in zip(
                    judgements.query, judgements.document, judgements.relevance, strict=True
                )
            ],
            "counts": dict(corpus.counts),
        }

    def from_hub(documents: Rows, queries: Rows, pairs: Any, **changes: Any) -> dict[str, Any]:
        # A name of its own each time, for a revision is taken to stay what it was.
        name = f"owner/wild-{len(hub.datasets)}"
        scored = [dict(zip(("query-id", "corpus-id", "score"), pair, strict=False)) for pair in pairs]
        hub.datasets[name] = Repository(
            {
                "README.md": readme(**CONFIGS | {"default": {"test": "qrels/test.jsonl"}}),
                "corpus.jsonl": json_lines(documents),
                "queries.jsonl": json_lines(queries),
                "qrels/test.jsonl": json_lines(scored),
            }
        )
        found: dict[str, Any] = request.getfixturevalue("client").corpus(entry(name, **changes))
        return found

    return from_folder if request.param == "folder" else from_hub


HARMLESS: dict[str, tuple[Rows, Rows, list[tuple[Any, ...]], str]] = {
    "an empty document that nobody judged": (
        [*DOCUMENTS, {"_id": "d", "title": " ", "text": ""}],
        QUERIES,
        PAIRS,
        "empty documents passed over",
    ),
    "a document whose text is null": (
        [*DOCUMENTS, {"_id": "d", "title": None, "text": None}],
        QUERIES,
        PAIRS,
        "empty documents passed over",
    ),
    "an empty query that nobody judged": (
        DOCUMENTS,
        [*QUERIES, {"_id": "3", "text": None}],
        PAIRS,
        "empty queries passed over",
    ),
    "a judgement given twice with one score": (
        DOCUMENTS,
        QUERIES,
        [*PAIRS, PAIRS[1]],
        "judgements given twice alike",
    ),
    "a document given twice": ([*DOCUMENTS, DOCUMENTS[1]], QUERIES, PAIRS, "documents given twice alike"),
    "a query given twice": (DOCUMENTS, [*QUERIES, QUERIES[1]], PAIRS, "queries given twice alike"),
    "ids under the name id": (
        [{"id": line["_id"], "title": line["title"], "text": line["text"]} for line in DOCUMENTS],
        [{"id": line["_id"], "text": line["text"]} for line in QUERIES],
        PAIRS,
        "",
    ),
    "queries whose ids are numbers": (
        DOCUMENTS,
        [{"_id": int(line["_id"]), "text": line["text"]} for line in QUERIES],
        PAIRS,
        "",
    ),
    "scores with a point": (DOCUMENTS, QUERIES, [(*pair[:2], float(pair[2])) for pair in PAIRS], ""),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_changes_no_figure_is_passed_over_and_counted(kind: str, read: Read) -> None:
    documents, queries, pairs, counted = HARMLESS[kind]
    found = read(documents, queries, pairs)
    assert found["documents"] == {"a": "Cells divide.", "b": "Bone grows.", "c": "Nothing asks for this."}
    assert found["queries"] == {"1": "Do cells divide?", "2": "Bone?"}
    assert sorted(map(tuple, found["judgements"])) == sorted(PAIRS)
    assert {name for name, count in found["counts"].items() if "passed" in name or "alike" in name} == (
        {counted} if counted else set()
    )
    assert counted == "" or found["counts"][counted] == 1


def test_ids_in_another_unicode_form_are_one(read: Read) -> None:
    found = read([*DOCUMENTS, {"_id": DECOMPOSED, "text": "Coffee."}], QUERIES, [*PAIRS, ("1", COMPOSED, 1)])
    assert found["documents"][COMPOSED] == "Coffee."
    assert ["1", COMPOSED, 1] in found["judgements"]
    assert found["counts"]["ids in another Unicode form"] == 1


def test_a_query_given_after_an_empty_one_of_its_id_is_taken(read: Read) -> None:
    found = read(DOCUMENTS, [{"_id": "3", "text": ""}, *QUERIES, {"_id": "3", "text": "Asked?"}], PAIRS)
    assert found["queries"] == {"1": "Do cells divide?", "2": "Bone?"}
    assert found["counts"]["queries not judged in the split"] == 1


DROPPED: dict[str, tuple[Rows, Rows, list[tuple[Any, ...]], str, str, list[tuple[Any, ...]], str]] = {
    "a judgement of a document that is not there": (
        DOCUMENTS,
        QUERIES,
        [*PAIRS, ("1", "z", 1)],
        "dangling",
        "judges the unknown document 'z'",
        PAIRS,
        "judgements of what is not there dropped",
    ),
    "a judgement of a query that is not there": (
        DOCUMENTS,
        QUERIES,
        [*PAIRS, ("9", "c", 1)],
        "dangling",
        "judges the unknown query '9'",
        PAIRS,
        "judgements of what is not there dropped",
    ),
    "a query whose only answer is not there": (
        DOCUMENTS,
        [*QUERIES, {"_id": "3", "text": "Lost?"}],
        [*PAIRS, ("3", "z", 1)],
        "dangling",
        "judges the unknown document 'z'",
        PAIRS,
        "judgements of what is not there dropped",
    ),
    "a judged document without text": (
        [*DOCUMENTS, {"_id": "d", "text": ""}],
        QUERIES,
        [*PAIRS, ("1", "d", 1)],
        "empty",
        "empty text of 'd', which is judged",
        PAIRS,
        "empty documents with judgements dropped",
    ),
    "a judged query without text": (
        DOCUMENTS,
        [*QUERIES, {"_id": "3", "text": None}],
        [*PAIRS, ("3", "c", 1)],
        "empty",
        "empty text of '3', which is judged",
        PAIRS,
        "empty queries with judgements dropped",
    ),
    "two scores for one pair": (
        DOCUMENTS,
        QUERIES,
        [*PAIRS, ("2", "a", 1)],
        "conflicting",
        "duplicate judgement of query '2' and document 'a', first on",
        PAIRS[:2],
        "judgements that contradict others dropped",
    ),
    "another document under an id": (
        [*DOCUMENTS, {"_id": "b", "text": "Another."}],
        QUERIES,
        PAIRS,
        "repeated",
        "duplicate _id 'b', first on",
        PAIRS,
        "documents with the id of another dropped",
    ),
    "another query under an id": (
        DOCUMENTS,
        [*QUERIES, {"_id": "2", "text": "Another?"}],
        PAIRS,
        "repeated",
        "duplicate _id '2', first on",
        PAIRS,
        "queries with the id of another dropped",
    ),
}


@pytest.mark.parametrize("kind", DROPPED)
def test_what_changes_figures_is_refused_and_dropped_where_the_entry_says_so(
    kind: str, read: Read, tmp_path: Path
) -> None:
    documents, queries, pairs, drop, message, left, counted = DROPPED[kind]
    refused = read(documents, queries, pairs)["error"]
    assert message in refused
    assert refused.endswith(f", or add {drop} to drop of this dataset in params.yaml")
    assert "\n" not in refused
    (tmp_path / "wild").rename(tmp_path / "before") if (tmp_path / "wild").exists() else None
    found = read(documents, queries, pairs, drop=[drop])
    assert found["documents"] == {"a": "Cells divide.", "b": "Bone grows.", "c": "Nothing asks for this."}
    assert found["queries"] == {"1": "Do cells divide?", "2": "Bone?"}
    assert sorted(map(tuple, found["judgements"])) == sorted(left)
    assert found["counts"][counted] == 1


def test_a_subsample_with_dangling_judgements_has_what_is_there(read: Read) -> None:
    found = read(DOCUMENTS, QUERIES, [*PAIRS, ("1", "z", 1)], drop=["dangling"], max_documents=3)
    assert sorted(found["documents"]) == ["a", "b"]
    assert found["counts"]["documents judged"] == 2


def test_nothing_left_after_dropping_is_refused(read: Read) -> None:
    found = read(DOCUMENTS, QUERIES, [("1", "z", 1), ("2", "a", 0)], drop=["dangling"])
    assert "zero queries are left, for none has a judgement above 0" in found["error"]


@pytest.mark.parametrize("names", [["corpus.jsonl"], ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]])
def test_compressed_files_stand_in_for_plain_ones(names: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "wild"
    in_folder(folder, DOCUMENTS, QUERIES, PAIRS)
    spec = Beir.model_validate(beir_entry("wild"))
    plain = read_beir(spec, tmp_path, 0, tmp_path / "scratch")
    for name in names:
        packed = gzip.compress((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / f"{name}.gz").write_bytes(packed)
    assert read_beir(spec, tmp_path, 0, tmp_path / "scratch").digest == plain.digest
    (folder / f"{names[0]}.gz").write_bytes(packed[:-9])
    with pytest.raises(BitlakeError, match=r"\.gz(: is no whole gzip file| line)"):
        read_beir(spec, tmp_path, 0, tmp_path / "scratch")
    (folder / f"{names[0]}.gz").write_bytes(b"plain")
    with pytest.raises(BitlakeError, match=r"\.gz: is no whole gzip file \(Not a gzipped file"):
        read_beir(spec, tmp_path, 0, tmp_path / "scratch")


def test_a_line_without_an_end_is_refused_before_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LINE_BYTES", 1_000)
    in_folder(tmp_path / "wild", DOCUMENTS, QUERIES, PAIRS)
    bomb = json.dumps({"_id": "d", "text": "x" * 10_000_000}).encode()
    (tmp_path / "wild/corpus.jsonl").unlink()
    (tmp_path / "wild/corpus.jsonl.gz").write_bytes(gzip.compress(bomb))
    with pytest.raises(BitlakeError, match=r"corpus\.jsonl\.gz line 1: has more than 1,000 bytes; cut it$"):
        read_beir(Beir.model_validate(beir_entry("wild")), tmp_path, 0, tmp_path / "scratch")
