"""Collections of the hub, read by the real libraries: the corpus, a subsample, and tables that do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store.corpora.beir import read_beir
from store.corpora.spec import Beir
from tests.hub_server import Hub, Repository, json_lines, parquet, readme
from tests.stages.projects import write_beir
from tests.store.hub_clients import Client
from tests.store.test_hub import COMMIT, dataset_entry

SPLITS = {"test": "qrels/test.jsonl", "train": "qrels/train.jsonl"}
CONFIGS: dict[str, dict[str, str]] = {
    "default": SPLITS,
    "corpus": {"corpus": "corpus.jsonl"},
    "queries": {"queries": "queries.jsonl"},
}
HUB = {
    "name": "owner/mteb",
    "revision": COMMIT,
    "corpus": {"config": "corpus", "split": "corpus"},
    "queries": {"config": "queries", "split": "queries"},
    "judgements": "default",
}


def entry(name: str = "owner/mteb", **changes: Any) -> dict[str, Any]:
    """An entry for a collection in the layout of MTEB: JSON lines, a split of judgements a file."""
    return dataset_entry(name) | {"hub": HUB | {"name": name}, "split": "test"} | changes


def pairs_of(tsv: str) -> list[dict[str, Any]]:
    split = [line.split("\t") for line in tsv.splitlines()[1:]]
    return [
        {"query-id": query, "corpus-id": document, "score": float(score)} for query, document, score in split
    ]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder with 30 of its queries in the split train."""
    folder = tmp_path_factory.mktemp("data") / "small"
    write_beir(folder, 5)
    lines = (folder / "qrels/test.tsv").read_text().splitlines()
    (folder / "qrels/train.tsv").write_text("\n".join([lines[0], *lines[11:]]) + "\n")
    (folder / "qrels/test.tsv").write_text("\n".join(lines[:13]) + "\n")
    return folder


@pytest.fixture(scope="module")
def files(collection: Path) -> dict[str, bytes]:
    """The same collection as a repository."""
    return {
        "README.md": readme(**CONFIGS),
        "corpus.jsonl": (collection / "corpus.jsonl").read_bytes(),
        "queries.jsonl": (collection / "queries.jsonl").read_bytes(),
        **{
            path: json_lines(pairs_of((collection / f"qrels/{split}.tsv").read_text()))
            for split, path in SPLITS.items()
        },
    }


@pytest.fixture(scope="module")
def hub() -> Hub:
    return Hub()


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with hub.serve() as server, Client(server.url, tmp_path_factory.mktemp("client")) as client:
        yield client


def from_folder(collection: Path, scratch: Path, **changes: Any) -> Any:
    spec = Beir.model_validate(entry(path=collection.name) | changes)
    return read_beir(spec, collection.parent, 0, scratch)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_documents": 60, "training": {"split": "train", "max_queries": 7}, "seed": 3},
        {"grown_from": [100, 350]},
    ],
    ids=["whole", "subsample", "grown"],
)
def test_the_hub_and_a_folder_give_one_corpus(
    client: Client,
    hub: Hub,
    collection: Path,
    files: dict[str, bytes],
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    hub.datasets["owner/mteb"] = Repository(files)
    ours = from_folder(collection, tmp_path, **changes)
    theirs = client.corpus(entry(**changes))
    assert theirs["digest"] == ours.digest
    assert theirs["counts"] == dict(ours.counts)
    assert list(theirs["documents"]) == list(ours.document_ids)
    assert theirs["training"] == dict(zip(ours.training_ids, ours.training_texts, strict=True))


def test_a_subsample_keeps_what_is_judged(collection: Path, tmp_path: Path) -> None:
    whole, few = from_folder(collection, tmp_path), from_folder(collection, tmp_path, max_documents=60)
    judged = {whole.document_ids[row] for row in whole.judgements.document}
    assert judged < set(few.document_ids) < set(whole.document_ids)
    assert len(few.document_ids) == 60
    assert few.counts["documents in the collection"] == 400
    assert few.counts["documents judged"] == len(judged)
    assert few.counts["documents drawn"] == 60 - len(judged)
    assert list(few.query_texts) == list(whole.query_texts)
    relevant = [
        {
            (corpus.query_ids[q], corpus.document_ids[d])
            for q, d in zip(corpus.judgements.query, corpus.judgements.document, strict=True)
        }
        for corpus in (whole, few)
    ]
    assert relevant[0] == relevant[1]
    texts = dict(zip(whole.document_ids, whole.document_texts, strict=True))
    assert dict(zip(few.document_ids, few.document_texts, strict=True)) == {
        name: texts[name] for name in few.document_ids
    }
    # The order of rows is that of the ids alone: judged rows come neither first nor last.
    assert list(few.document_ids) != sorted(few.document_ids)
    rows = sorted(list(few.document_ids).index(name) for name in judged)
    assert rows[0] < 20
    assert rows[-1] >= 40


def test_training_queries_are_set_apart(collection: Path, tmp_path: Path) -> None:
    corpus = from_folder(collection, tmp_path, training={"split": "train", "max_queries": 1000})
    pairs = pairs_of((collection / "qrels/train.tsv").read_text())
    assert set(corpus.training_ids) == {pair["query-id"] for pair in pairs} - set(corpus.query_ids)
    assert len(corpus.training_ids) == corpus.counts["training queries"] == 28
    few = from_folder(collection, tmp_path, training={"split": "train", "max_queries": 5})
    assert len(few.training_ids) == 5
    assert set(few.training_ids) < set(corpus.training_ids)
    assert few.digest == corpus.digest == from_folder(collection, tmp_path).digest


def test_more_or_fewer_documents_than_there_can_be(collection: Path, tmp_path: Path) -> None:
    message = (
        r"^max_documents: 401 documents are asked for, .*corpus\.jsonl has 400; lower it or set it to null$"
    )
    with pytest.raises(ValueError, match=message):
        from_folder(collection, tmp_path, max_documents=401)
    message = r"^max_documents: 5 is fewer than the 12 documents that .*test\.tsv judges; raise it$"
    with pytest.raises(ValueError, match=message):
        from_folder(collection, tmp_path, max_documents=5)


REMEDY = "name another revision or repository"
ROW = {"_id": "d1", "title": "", "text": "x"}
PAIR = {"query-id": "q0", "corpus-id": "d1", "score": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"corpus.jsonl": json_lines([{"docid": "d1", "contents": "x"}])},
            "owner/bad corpus/corpus: has no column _id; its columns are contents, docid",
        ),
        (
            {"queries.jsonl": json_lines([{"_id": "q0", "query": "x"}])},
            "owner/bad queries/queries: has no column text; its columns are _id, query",
        ),
        (
            {"qrels/test.jsonl": json_lines([{"query-id": "q0", "corpus-id": "d1", "relevance": 0}])},
            "owner/bad default/test: the column relevance is not one of query-id, corpus-id, score",
        ),
        (
            {"qrels/test.jsonl": json_lines([PAIR | {"score": 0.5}])},
            "owner/bad default/test row 1: score must be a whole number of 32 bits, got 0.5",
        ),
        (
            {"qrels/test.jsonl": json_lines([PAIR, PAIR | {"corpus-id": None}])},
            "owner/bad default/test row 2: corpus-id must be a string, got NoneType",
        ),
        (
            {"corpus.jsonl": json_lines([ROW | {"_id": None}])},
            "owner/bad corpus/corpus row 1: _id must be a string, got NoneType",
        ),
        (
            {"corpus.jsonl": json_lines([ROW | {"_id": "other"}])},
            "owner/bad default/test row 1: judges the unknown document",
        ),
        (
            {"corpus.jsonl": json_lines([ROW | {"_id": "other"}, ROW | {"_id": "other", "text": "y"}])},
            "owner/bad corpus/corpus row 2: duplicate _id 'other', first on row 1",
        ),
        ({"README.md": b"# No head\n"}, f"hub: owner/bad at revision {COMMIT} declares no configurations"),
        (
            {"README.md": readme(**CONFIGS | {"corpus": {"corpus": "../../other/corpus.jsonl"}})},
            f"hub: owner/bad at revision {COMMIT} declares the data file '../../other/corpus.jsonl' outside of itself",
        ),
        (
            {"README.md": readme(**CONFIGS | {"corpus": {"corpus": "/etc/passwd"}})},
            f"hub: owner/bad at revision {COMMIT} declares the data file '/etc/passwd' outside of itself",
        ),
        (
            {"README.md": readme(**CONFIGS | {"corpus": {"corpus": "http://127.0.0.1:9/corpus.jsonl"}})},
            f"hub: owner/bad at revision {COMMIT} declares the data file 'http://127.0.0.1:9/corpus.jsonl' outside",
        ),
        (
            {"README.md": readme(**CONFIGS | {"corpus": {"corpus": "corpus-*.jsonl"}})},
            "owner/bad corpus/corpus: cannot be read as its README.md declares it",
        ),
        ({"queries.jsonl": b"\x00\x01 broken"}, "owner/bad queries/queries: cannot be read as its README.md"),
    ],
)
def test_a_repository_that_does_not_fit_is_named(
    client: Client, hub: Hub, files: dict[str, bytes], changed: dict[str, bytes], message: str
) -> None:
    # A name of its own each time, for a revision is taken to stay what it was.
    name = f"owner/bad-{hashlib.sha1(repr(changed).encode()).hexdigest()[:8]}"
    hub.datasets[name] = Repository(files | changed)
    error = client.corpus(entry(name))["error"]
    assert error.startswith(f"InvalidInput: {message.replace('owner/bad', name)}")
    assert error.partition(", or add ")[0].endswith(REMEDY)
    assert "\n" not in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"corpus": {"config": "passages", "split": "corpus"}},
            "hub.corpus.config: owner/mteb has no configuration 'passages'; it has corpus, default, queries",
        ),
        (
            {"queries": {"config": "queries", "split": "test"}},
            "hub.queries.split: configuration 'queries' of owner/mteb has no split 'test'; it has queries",
        ),
        (
            {"judgements": "qrels"},
            "hub.judgements: owner/mteb has no configuration 'qrels'; it has corpus, default, queries",
        ),
    ],
)
def test_a_table_that_the_repository_does_not_have_is_named(
    client: Client, hub: Hub, files: dict[str, bytes], changes: dict[str, Any], message: str
) -> None:
    hub.datasets["owner/mteb"] = Repository(files)
    assert client.corpus(entry(hub=HUB | changes))["error"] == f"InvalidInput: {message}"
    assert client.corpus(entry(split="dev"))["error"] == (
        "InvalidInput: split: configuration 'default' of owner/mteb has no split 'dev'; it has test, train"
    )


def test_ids_may_be_numbers_and_titles_and_scores_absent(client: Client, hub: Hub) -> None:
    hub.datasets["owner/numbers"] = Repository(
        {
            "README.md": readme(
                default={"test": "qrels/*.parquet"},
                corpus={"corpus": "corpus/*.parquet"},
                queries={"queries": "q.parquet"},
            ),
            "corpus/0.parquet": parquet({"_id": [1, 2], "text": ["one", "two"]}),
            "corpus/1.parquet": parquet({"_id": [3, 4], "text": ["three", " "]}),
            "q.parquet": parquet({"_id": [7], "text": ["seven"]}),
            "qrels/0.parquet": parquet({"query-id": [7], "corpus-id": [3]}),
        }
    )
    found = client.corpus(entry("owner/numbers"))
    assert found["documents"] == {"1": "one", "2": "two", "3": "three"}
    assert found["judgements"] == [["7", "3", 1]]
    assert found["counts"]["empty documents passed over"] == 1
    hub.datasets["owner/empty"] = Repository(
        hub.datasets["owner/numbers"].files
        | {"corpus/1.parquet": parquet({"_id": [3, 4], "text": ["", "four"]})}
    )
    assert client.corpus(entry("owner/empty"))["error"] == (
        f"InvalidInput: owner/empty corpus/corpus row 3: empty text of '3', which is judged; {REMEDY}, or add empty "
        "to drop of this dataset in params.yaml"
    )
