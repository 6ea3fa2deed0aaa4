"""Groups of codes: which arrays they may hold, and what they may be called."""

from __future__ import annotations

import pytest

from store.artifacts.codes import code_fields
from store.artifacts.extended_codes import EXTENDED_CODES
from store.codecs.registry import CODECS
from store.errors import InvalidInput
from store.leaf.schema import Field, Schema

AXES = Field(("dimension", "bit"), "float32", "")
OTHER_AXES = Field(("dimension",), "float64", "")

SCHEMA = Schema(
    "codes", (), code_fields({"sign": {"axes": AXES}, "sign-mean": {"axes": OTHER_AXES}, "cast": {}})
)


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
    for key, codec in CODECS.items():
        for name, declared in codec.STATE.items():
            stacked = EXTENDED_CODES.field_of(f"{key}-1/{name}")
            assert stacked.dims == ("seed", *declared.dims)
            assert stacked.dtype == declared.dtype
    assert not EXTENDED_CODES.kept
