"""Blocks gathered into runs: every row is searched once, at its place, for any blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.search import runs
from store.search.runs import Runs


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
    if max(stop - start for start, stop in order) < most / 2:
        assert max(sizes) <= most
        if order == sorted(order):
            assert sizes[:-1] == [most] * (len(sizes) - 1)


def test_a_block_that_is_a_run_is_searched_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_BYTES", 20)
    codes = np.arange(60, dtype=np.uint8).reshape(30, 2)
    found: list[tuple[int, list[int], bool]] = []

    def search(run: NDArray[np.uint8], first_row: int) -> None:
        found.append((first_row, run[:, 0].tolist(), np.shares_memory(run, codes)))

    gathered = Runs(search, 2)
    for start, stop in ((0, 4), (4, 9), (9, 30)):
        gathered.add(codes[start:stop], start)
    gathered.add(np.asfortranarray(codes[:6]), 100)
    gathered.flush()
    assert found == [
        (0, [0, 2, 4, 6], False),
        (4, [8, 10, 12, 14, 16], True),
        (9, list(range(18, 60, 2)), True),
        (100, [0, 2, 4, 6, 8, 10], False),
    ]
