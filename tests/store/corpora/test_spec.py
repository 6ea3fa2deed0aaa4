"""Dataset entries of ``params.yaml``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from store.corpora.spec import ApiDocs, Beir, DatasetSpec

API_DOCS: dict[str, Any] = {
    "source": "api-docs",
    "packages": ["numpy", "pandas"],
    "max_documents": 1500,
    "max_queries": 1000,
    "min_words": 30,
    "seed": 0,
    "exclude_self": False,
}
BEIR: dict[str, Any] = {
    "source": "beir",
    "path": "scifact",
    "hub": {
        "name": "mteb/scifact",
        "revision": "0" * 40,
        "corpus": {"config": "corpus", "split": "corpus"},
        "queries": {"config": "queries", "split": "queries"},
        "judgements": "default",
    },
    "split": "test",
    "training": {"split": "train", "max_queries": 100},
    "max_documents": None,
    "seed": 0,
    "exclude_self": False,
    "grown_from": [],
    "drop": [],
}
HUB: dict[str, Any] = BEIR["hub"]
ENTRY: TypeAdapter[DatasetSpec] = TypeAdapter(DatasetSpec)


def test_the_source_decides_the_type() -> None:
    api_docs, beir = ENTRY.validate_python(API_DOCS), ENTRY.validate_python(BEIR)
    assert isinstance(api_docs, ApiDocs)
    assert api_docs.packages == ("numpy", "pandas")
    assert isinstance(beir, Beir)
    assert beir.model_dump() == BEIR | {"grown_from": (), "drop": ()}


def test_entries_are_frozen() -> None:
    entry = ENTRY.validate_python(BEIR)
    with pytest.raises(ValidationError, match="frozen"):
        entry.exclude_self = True


@pytest.mark.parametrize("entry", [API_DOCS, BEIR], ids=["api-docs", "beir"])
def test_every_key_is_required(entry: dict[str, Any]) -> None:
    for key in entry:
        with pytest.raises(ValidationError) as caught:
            ENTRY.validate_python({k: v for k, v in entry.items() if k != key})
        (problem,) = caught.value.errors()
        assert problem["type"] == ("union_tag_not_found" if key == "source" else "missing")


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [
        (BEIR, {"spllit": "test"}, "Extra inputs are not permitted"),
        (BEIR, {"source": "hub"}, "expected tags: 'api-docs', 'beir'"),
        (BEIR, {"path": ""}, "at least 1 character"),
        (BEIR, {"path": None, "hub": None}, "path and hub are both null"),
        (BEIR, {"hub": HUB | {"revision": "main"}}, "should match pattern"),
        (BEIR, {"hub": HUB | {"name": "scifact"}}, "should match pattern"),
        (BEIR, {"hub": HUB | {"name": "../../etc"}}, "should match pattern"),
        (BEIR, {"hub": HUB | {"corpus": {"config": "corpus"}}}, "Field required"),
        (BEIR, {"hub": HUB | {"trust_remote_code": True}}, "Extra inputs are not permitted"),
        (
            BEIR,
            {"training": {"split": "test", "max_queries": 1}},
            "training.split is test, the split to report",
        ),
        (BEIR, {"training": {"split": "train", "max_queries": 0}}, "greater than or equal to 1"),
        (BEIR, {"max_documents": 0}, "greater than or equal to 1"),
        (BEIR, {"max_documents": 5, "grown_from": [5]}, "grown_from must be empty"),
        (BEIR, {"split": "../test"}, "should match pattern"),
        (BEIR, {"exclude_self": "no"}, "valid boolean"),
        (BEIR, {"grown_from": [0, 5]}, "greater than or equal to 1"),
        (BEIR, {"grown_from": [5, 5]}, "sizes must be ascending and distinct"),
        (BEIR, {"grown_from": [6, 5]}, "sizes must be ascending and distinct"),
        (BEIR, {"grown_from": ["5"]}, "valid integer"),
        (API_DOCS, {"grown_from": []}, "Extra inputs are not permitted"),
        (API_DOCS, {"packages": []}, "at least 1 item"),
        (API_DOCS, {"packages": ["numpy", 1]}, "valid string"),
        (API_DOCS, {"packages": ["scikit-learn"]}, "'scikit-learn' is not an import name"),
        (API_DOCS, {"packages": ["numpy", "numpy"]}, "listed twice"),
        (API_DOCS, {"max_documents": 0}, "greater than or equal to 1"),
        (API_DOCS, {"max_queries": 0}, "greater than or equal to 1"),
        (API_DOCS, {"min_words": True}, "valid integer"),
        (API_DOCS, {"seed": -1}, "greater than or equal to 0"),
        (API_DOCS, {"seed": 2**32}, "less than or equal to 4294967295"),
    ],
)
def test_a_wrong_value_is_refused(entry: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ENTRY.validate_python(entry | change)
