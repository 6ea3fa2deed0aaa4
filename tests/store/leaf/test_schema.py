"""How arrays are cut: by the size of a row, so that growing arrays keep their shard boundaries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import InvalidInput
from store.layout import check_label, leaf_path
from store.leaf.schema import CHUNK_BYTES, SHARD_CHUNKS, Field


def embeddings(dimension: int, rows: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    return Field(("document", "dimension"), "float16", "", rows="document").chunks_and_shards(
        (rows, dimension)
    )


def test_minilm_vectors_at_full_size() -> None:
    chunk, shard = embeddings(384, 500_000)
    assert chunk == (512, 384)
    assert shard == (131_072, 384)


@given(st.integers(1, 4096), st.integers(1, 10**9), st.integers(1, 10**9))
def test_growth_moves_no_shard_boundary(dimension: int, one: int, other: int) -> None:
    before, after = embeddings(dimension, min(one, other)), embeddings(dimension, max(one, other))
    assert before[1] is not None
    # A file that holds fewer rows than one shard is rewritten as it grows; from the first full shard on nothing moves.
    if min(one, other) >= before[1][0]:
        assert before == after


@given(st.integers(1, 4096), st.integers(1, 10**7))
def test_chunks_stay_within_their_bound_and_nest(dimension: int, rows: int) -> None:
    chunk, shard = embeddings(dimension, rows)
    assert chunk[0] * dimension * 2 <= CHUNK_BYTES
    assert shard == (chunk[0] * SHARD_CHUNKS, dimension)
    assert chunk[0] & (chunk[0] - 1) == 0


@given(st.integers(1, 4096), st.integers(512, 10**6))
def test_padding_is_at_most_an_eighth(dimension: int, rows: int) -> None:
    (chunk, _), _ = embeddings(dimension, rows)
    stored = -(-rows // chunk) * chunk
    assert stored <= rows * 1.25
    assert embeddings(384, 600)[0] == (128, 384)


def test_split_dimensions_get_files_of_their_own() -> None:
    field = Field(("seed", "document", "byte"), "uint8", "", rows="document", split=("seed",))
    chunk, shard = field.chunks_and_shards((5, 10_000, 64))
    assert chunk[0] == 1
    assert shard is not None
    assert shard[0] == 1


@pytest.mark.parametrize("label", ["a.b", "", "a/b", "..", "ü", "a b", 3])
def test_labels_outside_the_rule_are_refused(label: object) -> None:
    with pytest.raises(InvalidInput, match=r"models\.x: .* is not a label"):
        check_label(label, "models.x")  # type: ignore[arg-type]


def test_leaf_paths() -> None:
    assert leaf_path("embeddings", {"model": "m-1", "dataset": "d_2"}) == "lake.zarr/embeddings/m-1/d_2"
