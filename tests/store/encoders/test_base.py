"""The checks that every encoder's vectors pass."""

from __future__ import annotations

import numpy as np
import pytest

from store.encoders import base
from store.encoders.base import check_vectors, unit_length
from store.errors import InvalidInput


def vectors() -> base.Vectors:
    return np.random.RandomState(0).standard_normal((5, 4)).astype(np.float32)


def test_usable_vectors_pass() -> None:
    check_vectors(vectors(), "document", label="m", dimension=4)
    check_vectors(np.full((1, 4), np.finfo(np.float32).max, np.float32), "document", label="m", dimension=4)
    check_vectors(np.empty((0, 4), np.float32), "document", label="m", dimension=4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    bad = vectors()
    bad[3, 1] = value
    bad[4, :2] = np.inf, -np.inf
    message = (
        r"^model m: document 3 \(doc-d\) has a vector with NaN or infinite values; check the model's weights$"
    )
    with pytest.raises(InvalidInput, match=message):
        check_vectors(bad, "document", label="m", dimension=4, names=["doc-a", "b", "c", "doc-d", "e"])


def test_a_zero_vector_is_refused() -> None:
    bad = vectors()
    bad[1] = 0
    with pytest.raises(InvalidInput, match=r"^model m: query 1 has an all-zero vector"):
        check_vectors(bad, "query", label="m", dimension=4)
    with pytest.raises(InvalidInput, match=r"query 1 \(two lines " + "x" * 30 + "…" + r"\) has an all-zero"):
        check_vectors(bad, "query", label="m", dimension=4, names=["", "two\n lines " + "x" * 99])


def test_another_dimension_is_refused() -> None:
    message = r"^model m gives 4 dimensions, params\.yaml models\.m\.dimension says 3$"
    with pytest.raises(InvalidInput, match=message):
        check_vectors(vectors(), "document", label="m", dimension=3)
    with pytest.raises(InvalidInput, match=r"shape \(4,\)"):
        check_vectors(vectors()[0], "document", label="m", dimension=4)


def test_unit_length() -> None:
    # The squares of the second row overflow float32.
    long = np.array([[3, 4], [3e30, 4e30]], np.float32)
    np.testing.assert_allclose(unit_length(long), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-7)
    assert unit_length(long).dtype == np.float32
