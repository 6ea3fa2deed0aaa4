"""Parts of an unfinished leaf: read only where they are what is wanted, and whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from store.layout import Layout
from store.leaf.unfinished import Unfinished


@pytest.fixture
def kept(tmp_path: Path) -> Unfinished:
    found = Unfinished(Layout(tmp_path), "embed--m--d")
    found.keep("documents-000000", "origin", np.arange(6, dtype=np.float16).reshape(2, 3), batch_tokens=64)
    return found


def part_file(kept: Unfinished) -> Path:
    (found,) = kept.layout.unfinished.rglob("*documents-000000")
    return found


def test_a_part_comes_back_as_it_was_kept(kept: Unfinished) -> None:
    part = kept.read("documents-000000", "origin")
    assert part is not None
    assert part.values.dtype == np.float16
    np.testing.assert_array_equal(part.values, [[0, 1, 2], [3, 4, 5]])
    assert part.notes == {"batch_tokens": 64}
    assert part_file(kept).relative_to(kept.layout.root).parts[:2] == (".bitlake", "unfinished")


def test_a_part_of_something_else_is_not_read(kept: Unfinished) -> None:
    assert kept.read("documents-000000", "another origin") is None
    assert kept.read("documents-000001", "origin") is None
    assert Unfinished(kept.layout, "embed--m--e").read("documents-000000", "origin") is None


def test_damage_anywhere_is_noticed(kept: Unfinished) -> None:
    file = part_file(kept)
    whole = file.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        part = kept.read("documents-000000", "origin")
        # Only what the notes say is not proved: they are a few bytes of a file that is written in one step.
        assert part is None or part.values.tobytes() == np.arange(6, dtype=np.float16).tobytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert kept.read("documents-000000", "origin") is None


def test_a_later_part_takes_the_place_of_an_earlier_one(kept: Unfinished) -> None:
    kept.keep("documents-000000", "newer", np.zeros(2))
    assert kept.read("documents-000000", "origin") is None
    part = kept.read("documents-000000", "newer")
    assert part is not None
    assert part.values.tolist() == [0, 0]


def test_removing_forgets_this_leaf_alone(kept: Unfinished) -> None:
    other = Unfinished(kept.layout, "embed--m--other")
    other.keep("queries", "origin", np.ones(1))
    kept.remove()
    kept.remove()
    assert kept.read("documents-000000", "origin") is None
    assert other.read("queries", "origin") is not None


def test_nothing_is_unpickled(kept: Unfinished) -> None:
    with pytest.raises(ValueError, match="pickle"):
        kept.keep("documents-000001", "origin", np.array([object()]))
