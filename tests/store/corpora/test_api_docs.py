"""Known-item search from docstrings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from store.corpora.api_docs import NEAR_IDENTICAL, corpus_of, read_api_docs
from store.corpora.corpus import Corpus
from store.corpora.docstrings import Docstring
from store.corpora.near_identical import leaders, words
from store.corpora.spec import ApiDocs
from store.errors import InvalidInput
from tests.paths import ROOT


def spec(**changes: object) -> ApiDocs:
    entry: dict[str, object] = {
        "source": "api-docs",
        "packages": ["zarr"],
        "max_documents": 100,
        "max_queries": 100,
        "min_words": 5,
        "seed": 0,
        "exclude_self": False,
    }
    return ApiDocs.model_validate(entry | changes)


def built(docstrings: list[Docstring], limits: ApiDocs) -> Corpus:
    return corpus_of(docstrings, limits, 0)


def body(topic: str) -> str:
    return " ".join(f"{topic}{i}" for i in range(10))


def pairs(corpus: Corpus) -> set[tuple[str, str]]:
    judged = corpus.judgements
    assert set(judged.relevance.tolist()) == {1}
    return {
        (corpus.query_texts[q], corpus.document_ids[d])
        for q, d in zip(judged.query, judged.document, strict=True)
    }


def test_summary_finds_body() -> None:
    corpus = built(
        [
            Docstring("p.sum", f"Sum of it.\n\n{body('s')}"),
            Docstring("p.mean", f"Mean of it.\n\n{body('m')}"),
            Docstring("p.short", "Too short.\n\nA body."),
        ],
        spec(),
    )
    assert pairs(corpus) == {("Sum of it.", "p.sum"), ("Mean of it.", "p.mean")}
    assert list(corpus.query_ids) == ["q:p.mean", "q:p.sum"]
    assert dict(zip(corpus.document_ids, corpus.document_texts, strict=True))["p.sum"] == body("s")
    assert dict(corpus.counts) == {
        "docstrings read": 3,
        "too short": 1,
        "near-identical merged": 0,
        "dropped by the cap": 0,
        "queries not drawn": 0,
        "documents": 2,
        "queries": 2,
        "judgements": 2,
        "distractors": 0,
    }


def test_equal_summaries_are_one_query_for_all_their_documents() -> None:
    corpus = built(
        [
            Docstring("p.b", f"Create an  ARRAY\n\n{body('b')}"),
            Docstring("p.a", f"Create an array.\n\n{body('a')}"),
            Docstring("p.c", f"Create arrays.\n\n{body('c')}"),
        ],
        spec(),
    )
    assert pairs(corpus) == {
        ("Create an array.", "p.a"),
        ("Create an array.", "p.b"),
        ("Create arrays.", "p.c"),
    }
    assert list(corpus.query_ids) == ["q:p.a", "q:p.c"]


def test_near_identical_bodies_are_one_document_that_answers_all_their_summaries() -> None:
    text = body("x") + " " + body("y") + " " + body("z")
    corpus = built(
        [
            Docstring("p.sub.Child.fit", f"Fit the child.\n\n{text.replace('y5', 'other')}"),
            Docstring("p.Base.fit", f"Fit the base.\n\n{text}"),
            Docstring("p.sub.Other.fit", f"Fit the base.\n\n{text.upper()}!"),
        ],
        spec(),
    )
    # One word of thirty differs: 25 of 31 triples are shared.
    assert NEAR_IDENTICAL <= 25 / 31
    assert pairs(corpus) == {("Fit the base.", "p.Base.fit"), ("Fit the child.", "p.Base.fit")}
    assert list(corpus.document_texts) == [text]
    assert corpus.counts["near-identical merged"] == 2


def test_documents_without_a_summary_stay_as_distractors() -> None:
    corpus = built(
        [
            Docstring("p.one", f"Integrate.\n\n{body('a')}"),
            Docstring("p.none", f"Parameters\n----------\n{body('b')}"),
            Docstring("p.two", f"Integrate twice.\n\n{body('c')}"),
        ],
        spec(),
    )
    assert pairs(corpus) == {("Integrate twice.", "p.two")}
    assert sorted(corpus.document_ids) == ["p.none", "p.one", "p.two"]
    assert corpus.counts["distractors"] == 2


def test_a_line_that_repeats_the_summary_is_left_out_of_the_body() -> None:
    lines = [body("j"), "Returns", "    Jacobi   polynomial", "Not the Jacobi polynomial alone."]
    corpus = built([Docstring("p.jacobi", "\n".join(["Jacobi polynomial.", "", *lines]))], spec())
    assert list(corpus.document_texts) == ["\n".join([lines[0], lines[1], lines[3]])]


def test_the_second_of_a_name_has_a_suffix() -> None:
    corpus = built([Docstring("p.x", f"Of {t}.\n\n{body(t)}") for t in ("a", "b")], spec())
    assert pairs(corpus) == {("Of a.", "p.x"), ("Of b.", "p.x-2")}


MANY = [Docstring(f"p.f{i:02}", f"Summary number {i // 2}.\n\n{body(f'w{i}_')}") for i in range(60)]


def test_caps_draw_by_seed_and_judge_among_the_drawn_only() -> None:
    corpus = built(MANY, spec(max_documents=20, max_queries=6))
    assert corpus.counts["documents"] == 20
    assert corpus.counts["dropped by the cap"] == 40
    assert corpus.counts["queries"] == 6
    expected = {
        (query, name)
        for query in corpus.query_texts
        for name in corpus.document_ids
        if query == f"Summary number {int(name[3:]) // 2}."
    }
    assert pairs(corpus) == expected
    answered = {name for _, name in expected}
    assert corpus.counts["distractors"] == 20 - len(answered)
    other = built(MANY, spec(max_documents=20, max_queries=6, seed=1))
    assert set(other.document_ids) != set(corpus.document_ids)


def test_fewer_queries_leave_the_documents_as_they_are() -> None:
    many, few = (built(MANY, spec(max_documents=20, max_queries=n)) for n in (100, 3))
    assert few.document_ids == many.document_ids
    assert set(few.query_texts) < set(many.query_texts)


def test_the_order_of_reading_decides_nothing() -> None:
    limits = spec(max_documents=20, max_queries=6)
    assert built(MANY, limits).digest == built(MANY[::-1], limits).digest


def test_nothing_left_is_said() -> None:
    with pytest.raises(
        InvalidInput, match=r"min_words: no docstring of zarr has .* 500 words; lower min_words"
    ):
        built(MANY, spec(min_words=500))
    with pytest.raises(InvalidInput, match="packages: 'bitlake_no_such_package' is not an installed package"):
        read_api_docs(spec(packages=["bitlake_no_such_package"]), 0)


def test_an_installed_package() -> None:
    corpus = read_api_docs(spec(max_documents=150, min_words=30), 0)
    assert len(corpus.document_ids) == 150
    assert len(corpus.query_ids) == 100
    assert min(len(text.split()) for text in corpus.document_texts) >= 30
    assert all(name.startswith("zarr.") and "._" not in name for name in corpus.document_ids)
    rows = leaders([words(text) for text in corpus.document_texts], NEAR_IDENTICAL)
    assert rows.tolist() == list(range(150))
    normalised = [" ".join(words(text)) for text in corpus.query_texts]
    assert len(set(normalised)) == 100
    for query, document in pairs(corpus):
        text = corpus.document_texts[list(corpus.document_ids).index(document)]
        assert words(query) not in [words(line) for line in text.splitlines()]


def test_hash_seeds_do_not_matter() -> None:
    limits = spec(max_documents=150, min_words=30)
    code = (
        "from store.corpora.api_docs import read_api_docs; from store.corpora.spec import ApiDocs; "
        f"print(read_api_docs(ApiDocs.model_validate_json({limits.model_dump_json()!r}), 0).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {read_api_docs(limits, 0).digest}
