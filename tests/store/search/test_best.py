"""The best documents from approximate scores: for any errors within their bounds, the float64 scores decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.search import best
from store.search.best import Best, found_by, round_down
from tests.counts import count
from tests.oracles.search import ranked


@settings(max_examples=count(full=500, quick=80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([1, 3, 50]))
def test_errors_within_the_bounds_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, seed: int, n: int, waiting: int
) -> None:
    monkeypatch.setattr(best, "_WAITING", waiting)
    draw = np.random.RandomState(seed)
    scores = draw.randint(-3, 4, (n, 5)) / 4.0  # many ties
    bounds = draw.choice([0.0, 0.3, 2.0], 5)
    near = (scores + draw.uniform(-1, 1, (n, 5)) * bounds).astype(np.float32)
    near = np.clip(near, round_down(scores - bounds), -round_down(-(scores + bounds)))
    bounds = bounds + 1e-6  # what rounding to float32 added
    exclude = draw.randint(-1, n, 5)
    k = data.draw(st.integers(1, n - 1))
    edges = sorted({0, n, *data.draw(st.lists(st.integers(0, n)))})
    order = data.draw(st.permutations(list(itertools.pairwise(edges))))

    def score(query: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.float64]:
        return scores[row, query]

    found = Best(k, exclude)
    for start, stop in order:
        found.update(near[start:stop].copy(), bounds, start, score)
    found.settle(score)
    neighbours = found_by([found])
    for query in range(5):
        assert neighbours.rows[query].tolist() == ranked(list(scores[:, query]), k, int(exclude[query]))
        assert neighbours.scores[query].tolist() == scores[neighbours.rows[query], query].tolist()


def test_too_few_documents_are_refused() -> None:
    found = Best(2, np.array([-1]))
    found.update(np.zeros((1, 1), dtype=np.float32), np.zeros(1), 0, lambda query, row: np.zeros(len(query)))
    found.settle(lambda query, row: np.zeros(len(query)))
    with pytest.raises(InvalidInput, match="k is 2 but some query has fewer documents"):
        found_by([found])


@given(st.lists(st.floats(allow_nan=False, max_value=1e37), min_size=1))
def test_rounding_down_is_never_above(values: list[float]) -> None:
    exact = np.array(values)
    rounded = round_down(exact).astype(np.float64)
    assert (rounded <= np.maximum(exact, -1e37)).all()
    ordinary = np.abs(exact) < 1e30
    assert (exact[ordinary] - rounded[ordinary] <= 2.0**-22 * np.abs(exact[ordinary]) + 1e-44).all()
