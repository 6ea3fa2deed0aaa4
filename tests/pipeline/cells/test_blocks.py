"""How searches are cut, and that a cut changes nothing but who works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cells import blocks
from pipeline.cells.blocks import Rows, top_k
from pipeline.executors import Threads
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.errors import InvalidInput
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.reading import Leaf, open_leaf
from store.search.inner_product import InnerProductTopK
from tests.store.lakes import CELL, commit_embeddings


class Cutting:
    """An engine that cuts, and works on the last block first."""

    cuts = True
    at_once = 1

    def in_order(self, work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], /) -> Iterable[Any]:
        return list(starmap(work, list(jobs)[::-1]))[::-1]


@pytest.fixture
def embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leaf:
    """A thousand vectors of 32 bytes in chunks of 64 and shards of 256 rows."""
    monkeypatch.setattr("store.leaf.schema.CHUNK_BYTES", 64 * 32)
    monkeypatch.setattr("store.leaf.schema.SHARD_CHUNKS", 4)
    commit_embeddings(Layout(tmp_path), rows=1000)
    return open_leaf(Layout(tmp_path).leaf("embeddings", CELL), EMBEDDINGS)


def start(leaf: Leaf, k: int) -> InnerProductTopK:
    return InnerProductTopK(leaf.read("queries"), k)


def test_a_search_of_one_process_is_not_cut(embeddings: Leaf) -> None:
    assert Rows(embeddings, "documents").parts(Threads()) == [slice(0, 1000)]


@pytest.mark.parametrize(("most", "size"), [(1 << 17, 256), (256, 256), (128, 128), (64, 64)])
def test_parts_are_shards_or_equal_parts_of_one(
    embeddings: Leaf, most: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SEARCH_ROWS", most)
    parts = Rows(embeddings, "documents").parts(Cutting())
    assert parts == [slice(at, min(at + size, 1000)) for at in range(0, 1000, size)]
    shard = embeddings.shard_rows("documents")
    assert shard == embeddings.arrays["documents"].unit[0] == 256
    assert all(part.start // shard == (part.stop - 1) // shard for part in parts)


def test_rows_are_those_of_a_part_an_index_and_a_width(tmp_path: Path) -> None:
    codes = np.random.RandomState(0).randint(0, 256, (2, 500, 8)).astype(np.uint8)
    with commit_leaf(Layout(tmp_path), BINARY_CODES, CELL) as leaf:
        leaf.write("phase1/documents", codes)
        leaf.write("phase1/queries", codes[:, :3])
        leaf.write("phase1/seed", np.arange(2, dtype=np.int32))
        leaf.describe_group("phase1", bits=[64])
        leaf.describe(**CELL, fit_rows=0)
    found = open_leaf(Layout(tmp_path).leaf("binary_codes", CELL), BINARY_CODES)
    rows = Rows(found, "phase1/documents", (1,), 5)
    assert rows.count == 500
    assert found.shard_rows("phase1/documents", 1) == 64 * 256
    for part in (None, slice(0, 64), slice(100, 333), slice(500, 500)):
        met = list(rows.blocks(part))
        together = np.concatenate([block for _, block in met]) if met else codes[1, :0, :5]
        assert np.array_equal(together, codes[1, part or slice(None), :5])
        assert not met or met[0][0] == (part or slice(0, 1)).start


@pytest.mark.parametrize("most", [1 << 17, 64])
@pytest.mark.parametrize("k", [1, 20, 100])
def test_a_cut_search_finds_the_same_bytes(
    embeddings: Leaf, most: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SEARCH_ROWS", most)
    exclude = np.array([-1, 3, 999, 64, 63, -1, 0, 500, 500, 2000])
    told: dict[str, list[int]] = {"whole": [], "cut": []}
    rows = Rows(embeddings, "documents")
    whole = top_k(Threads(), partial(start, embeddings), rows, k, exclude, told["whole"].append)
    cut = top_k(Cutting(), partial(start, embeddings), rows, k, exclude, told["cut"].append)
    plain = InnerProductTopK(embeddings.read("queries"), k, exclude)
    plain.update(embeddings.read("documents"), 0)
    for found in (whole, cut):
        assert found.rows.tobytes() == plain.result().rows.tobytes()
        assert found.scores.tobytes() == plain.result().scores.tobytes()
    assert sum(told["whole"]) == sum(told["cut"]) == 1000


@pytest.mark.parametrize("engine", [Threads(), Cutting()])
def test_too_few_documents_are_refused_however_they_are_cut(embeddings: Leaf, engine: Any) -> None:
    rows, exclude = Rows(embeddings, "documents"), np.array([4, *[-1] * 9])
    assert top_k(engine, partial(start, embeddings), rows, 999, exclude).rows.shape == (10, 999)
    with pytest.raises(InvalidInput, match="k is 1000 but some query has fewer documents to search"):
        top_k(engine, partial(start, embeddings), rows, 1000, exclude)
