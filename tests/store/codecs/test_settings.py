"""From the settings in ``params.yaml`` to codecs, one road for every codec."""

from __future__ import annotations

from typing import Any

import pytest

from store.codecs.phase1_codec import Phase1Codec
from store.codecs.pq import PQCodec
from store.codecs.registry import CODECS
from store.codecs.settings import Group, build, groups
from store.codecs.sign import MeanSignCodec
from store.errors import InvalidInput


def test_a_codec_is_built_from_its_settings() -> None:
    assert build(CODECS["phase1"], {"bits": 64, "seed": 3}) == Phase1Codec(64, 3)
    assert build(CODECS["pq"], {"seed": 1, "iterations": 5, "code_bytes": 8}) == PQCodec(8, 1, 5)
    assert build(CODECS["sign-mean"], {}) == MeanSignCodec()


UNKNOWN = "is not a known key; remove it or correct its spelling"


@pytest.mark.parametrize(
    ("key", "settings", "message"),
    [
        ("phase1", {"bits": 64}, "codec phase1: seed: is missing; the keys are bits, seed"),
        (
            "phase1",
            {"bit": 64},
            "codec phase1: bit: is not a known key; remove it or correct its spelling; the keys are bits, seed",
        ),
        (
            "sign",
            {"bits": 64},
            "codec sign: bits: is not a known key; remove it or correct its spelling; there are none",
        ),
        (
            "phase1",
            {"bits": "64", "seed": 0},
            "codec phase1: bits: Input should be a valid integer; got '64'",
        ),
        (
            "phase1",
            {"bits": True, "seed": 0},
            "codec phase1: bits: Input should be a valid integer; got True",
        ),
        (
            "phase1",
            {"bits": 64.5, "seed": 0},
            "codec phase1: bits: Input should be a valid integer; got 64.5",
        ),
        (
            "phase1",
            {"bits": None, "seed": 0},
            "codec phase1: bits: Input should be a valid integer; got None",
        ),
        ("phase1", {"bits": 12, "seed": 0}, "codec phase1: bits is 12: give a positive multiple of 8"),
    ],
)
def test_wrong_settings_are_named_in_one_line(key: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build(CODECS[key], settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_every_value_of_a_list_is_a_group_with_all_seeds() -> None:
    found = groups(CODECS, "pq", {"code_bytes": [8, 16], "seeds": [3, 1], "iterations": 2})
    assert found == (
        Group("pq-8", "pq", (PQCodec(8, 3, 2), PQCodec(8, 1, 2))),
        Group("pq-16", "pq", (PQCodec(16, 3, 2), PQCodec(16, 1, 2))),
    )
    assert groups(CODECS, "sign-mean", {}) == (Group("sign-mean", "sign-mean", (MeanSignCodec(),)),)
    assert groups(CODECS, "phase1", {"bits": 64, "seeds": [0]}) == (
        Group("phase1", "phase1", (Phase1Codec(64, 0),)),
    )


@pytest.mark.parametrize(
    ("key", "settings", "message"),
    [
        ("zip", {}, "codec 'zip' is not known here: choose one of bfloat16, float16, "),
        ("int4", [], "expected settings by name, got []"),
        ("phase1", {"bits": 64, "seeds": ["0"]}, "seeds: give whole numbers from 0 to 2147483647; got ['0']"),
        (
            "phase1",
            {"bits": 64, "seeds": [True]},
            "seeds: give whole numbers from 0 to 2147483647; got [True]",
        ),
        ("phase1", {"bits": 64, "seeds": 1}, "seeds: give whole numbers from 0 to 2147483647; got 1"),
    ],
)
def test_settings_that_make_no_group_are_named(key: str, settings: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        groups(CODECS, key, settings)
    assert str(caught.value).startswith(message)
