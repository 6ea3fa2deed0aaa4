"""Groups of codes: which arrays they may hold, and what they may be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.codes import codes_schema
from store.artifacts.further_codes import FURTHER_CODES
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.registry import CODECS
from store.errors import InvalidInput
from store.leaf.schema import Field

AXES = Field(("dimension", "bit"), "float32", "")
OTHER_AXES = Field(("dimension",), "float64", "")


class Sign:
    STATE: ClassVar[Mapping[str, Field]] = {"axes": AXES}


class SignMean:
    STATE: ClassVar[Mapping[str, Field]] = {"axes": OTHER_AXES}


class Cast:
    STATE: ClassVar[Mapping[str, Field]] = {}


KINDS: Any = {"sign": Sign, "sign-mean": SignMean, "cast": Cast}
SCHEMA = codes_schema("codes", KINDS)


def test_states_get_a_seed_dimension_and_files_of_their_own_for_each_seed() -> None:
    declared = SCHEMA.field_of("sign-64/axes")
    assert (declared.dims, declared.dtype, declared.split) == (
        ("seed", "dimension", "bit"),
        "float32",
        ("seed",),
    )
    assert declared.optional


def test_a_name_belongs_to_the_longest_key_it_begins_with() -> None:
    for group, dims in {
        "sign": ("seed", "dimension", "bit"),
        "sign-8": ("seed", "dimension", "bit"),
        "sign-mean": ("seed", "dimension"),
        "sign-mean-8": ("seed", "dimension"),
    }.items():
        assert SCHEMA.field_of(f"{group}/axes").dims == dims


def test_every_group_has_documents_and_seeds() -> None:
    assert SCHEMA.field_of("cast/documents").dims == ("seed", "document", "byte")
    assert SCHEMA.field_of("cast/seed").dtype == "int32"
    with pytest.raises(InvalidInput, match="cast/axes: not an array"):
        SCHEMA.field_of("cast/axes")


def test_the_state_of_every_codec_is_declared() -> None:
    schemas = (BINARY_CODES, QUANTIZED_CODES, FURTHER_CODES)
    every = [(key, codec, schema) for schema in schemas for key, codec in schema.codecs.items()]
    # The codes of float32 are the embeddings.
    assert sorted(key for key, *_ in every) == sorted(CODECS.keys() - {"float32"})
    for key, codec, schema in every:
        for name, declared in codec.STATE.items():
            stacked = schema.field_of(f"{key}-1/{name}")
            assert stacked.dims == ("seed", *declared.dims)
            assert stacked.dtype == declared.dtype
    assert not FURTHER_CODES.kept
