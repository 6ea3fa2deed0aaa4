"""No two contents share a digest by construction."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from store.leaf import digest


def test_settings_are_digested_by_name_in_any_order() -> None:
    assert digest.of_settings(a=1, b=[2]) == digest.of_settings(b=[2], a=1)
    assert digest.of_settings(a=1, b=[2]) == hashlib.sha256(b'{"a": 1, "b": [2]}').hexdigest()
    assert digest.of_settings(a=1) != digest.of_settings(a="1")


@pytest.mark.parametrize("other", [["a", "bc"], ["abc"], ["ab", "c", ""], ["", "ab", "c"], ["c", "ab"]])
def test_texts_do_not_run_together(other: list[str]) -> None:
    assert digest.of_texts(["ab", "c"]) != digest.of_texts(other)
    assert digest.of_texts(iter(["ab", "c"])) == digest.of_texts(["ab", "c"])


def test_arrays_differ_by_dtype_shape_and_every_value() -> None:
    array = np.arange(6, dtype=np.uint8)
    found = digest.of_array(array)
    assert found == digest.of_array(np.arange(12, dtype=np.uint8)[:6])
    assert digest.of_array(array.reshape(2, 3)[:, ::-1]) == digest.of_array(
        array.reshape(2, 3)[:, ::-1].copy()
    )
    others = [array.astype(np.int8), array.reshape(2, 3), array[:5], np.empty(0, np.uint8)]
    others += [np.where(np.arange(6) == at, 9, array).astype(np.uint8) for at in range(6)]
    assert len({found, *map(digest.of_array, others)}) == len(others) + 1


def test_named_arrays_differ_by_name() -> None:
    one, two = np.zeros(2), np.ones(2)
    assert digest.of_arrays({"a": one, "b": two}) == digest.of_arrays({"b": two, "a": one})
    assert digest.of_arrays({"a": one, "b": two}) != digest.of_arrays({"a": two, "b": one})
