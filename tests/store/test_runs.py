"""Blocks gathered into runs: every row is searched once, at its place, whatever the blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store import runs
from store.runs import Runs


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(1, 40), st.integers(1, 12))
def test_every_row_is_searched_once_at_its_place(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, n: int, most: int
) -> None:
    monkeypatch.setattr(runs, "RUN_BYTES", 3 * most)
    codes = np.arange(3 * n, dtype=np.uint8).reshape(n, 3)
    edges = sorted({0, n, *data.draw(st.lists(st.integers(0, n)))})
    order = data.draw(st.permutations(list(itertools.pairwise(edges))))
    found: dict[int, list[int]] = {}
    sizes = []

    def search(run: NDArray[np.uint8], first_row: int) -> None:
        assert run.flags.c_contiguous
        sizes.append(len(run))
        for row, code in enumerate(run.tolist(), first_row):
            assert row not in found
            found[row] = code

    gathered = Runs(search, 3)
    for start, stop in order:
        block = codes[start:stop].copy()
        gathered.add(block, start)
        block[:] = 255  # the caller may use its array again
    gathered.flush()
    gathered.flush()
    assert [found[row] for row in range(n)] == codes.tolist()
    assert max(sizes) <= most
    if order == sorted(order):
        assert sizes[:-1] == [most] * (len(sizes) - 1)
