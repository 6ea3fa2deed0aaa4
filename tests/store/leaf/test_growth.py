"""Rows copied from an earlier leaf: which, and that the result is the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.layout import Layout
from store.leaf import digest
from store.leaf.commit import commit_leaf
from store.leaf.growth import Block, Earlier, array_blocks, grow, text_blocks
from store.leaf.reading import CONTENTS, open_leaf
from store.leaf.schema import Field
from tests.counts import count
from tests.store.lakes import CELL, commit_embeddings, vectors
from tests.store.leaf.test_commit import digests

BLOCK = 100
SEEDS = (3, 5)
WIDTH = 4


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two chunks of 64 codes, so that blocks and shards do not end together."""
    monkeypatch.setattr("store.leaf.schema.SHARD_CHUNKS", 2)
    monkeypatch.setattr("store.leaf.schema.CHUNK_BYTES", 64 * WIDTH)
    monkeypatch.setattr("store.leaf.growth.BLOCK_ROWS", BLOCK)


@dataclass
class Codes:
    """Codes of numbers: each is a function of its number, its seed and the recipe; ``made`` are those computed."""

    layout: Layout
    recipe: str = "recipe"
    made: int = 0

    @property
    def place(self) -> Path:
        return self.layout.leaf("binary_codes", CELL)

    def write(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Commit the codes of the numbers, taking over what can be."""
        blocks = [
            Block(at, len(numbers[at : at + BLOCK]), digest.of_array(numbers[at : at + BLOCK]))
            for at in range(0, len(numbers), BLOCK)
        ]

        def make(block: Block, index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
            part = numbers[block.slice, None] * (1 + np.arange(WIDTH)) + SEEDS[index] + len(self.recipe)
            return np.asarray(part % 251, np.uint8)

        before = Earlier.at(self.place, BINARY_CODES)
        done: list[int] = []
        with commit_leaf(self.layout, BINARY_CODES, CELL) as leaf:
            shape = (len(SEEDS), len(numbers), WIDTH)
            self.made = grow(leaf, before, "phase1/documents", shape, self.recipe, blocks, make, done.append)
            leaf.write("phase1/queries", np.zeros((len(SEEDS), 1, WIDTH), np.uint8))
            leaf.write("phase1/seed", np.array(SEEDS, np.int32))
            leaf.describe_group("phase1", bits=[8 * WIDTH])
            leaf.describe(**CELL, fit_rows=0)
        assert sum(done) == len(SEEDS) * len(numbers)

    def from_scratch(self, numbers: np.ndarray[Any, np.dtype[np.int64]], root: Path) -> dict[str, str]:
        """Digests of the files of a leaf of the same numbers that had no leaf before it."""
        other = Codes(Layout(root), self.recipe)
        other.write(numbers)
        assert other.made == len(SEEDS) * len(numbers)
        return digests(other.place)


@pytest.fixture
def codes(tmp_path: Path) -> Codes:
    """Codes of the numbers below 250: two whole blocks and a half."""
    codes = Codes(Layout(tmp_path / "lake"))
    codes.write(np.arange(250))
    assert codes.made == 500
    return codes


@pytest.mark.parametrize(
    ("size", "made"), [(250, 0), (251, 51), (300, 100), (777, 577), (200, 0), (199, 99), (1, 1)]
)
def test_only_blocks_that_changed_are_made(codes: Codes, tmp_path: Path, size: int, made: int) -> None:
    numbers = np.arange(size)
    codes.write(numbers)
    assert codes.made == len(SEEDS) * made
    assert digests(codes.place) == codes.from_scratch(numbers, tmp_path / "scratch")


def test_whole_shards_are_the_same_files(codes: Codes) -> None:
    before = digests(codes.place)
    codes.write(np.arange(400))
    after = digests(codes.place)
    kept = {name for name in before if before[name] == after[name]}
    assert {f"phase1/documents/c.{seed}.0.0" for seed in range(2)} <= kept
    assert not {f"phase1/documents/c.{seed}.1.0" for seed in range(2)} & kept
    assert {f"phase1/documents/c.{seed}.3.0" for seed in range(2)} <= set(after) - set(before)


def test_a_change_of_one_number_makes_its_block_alone(codes: Codes, tmp_path: Path) -> None:
    numbers = np.arange(250)
    numbers[120] = 9
    codes.write(numbers)
    assert codes.made == len(SEEDS) * 100
    assert digests(codes.place) == codes.from_scratch(numbers, tmp_path / "scratch")


def test_blocks_that_moved_are_made(codes: Codes) -> None:
    codes.write(np.concatenate([np.arange(100, 200), np.arange(100), np.arange(200, 250)]))
    assert codes.made == len(SEEDS) * 200


def test_another_recipe_makes_everything(codes: Codes, tmp_path: Path) -> None:
    codes.recipe = "another recipe"
    codes.write(np.arange(250))
    assert codes.made == 500
    assert digests(codes.place) == codes.from_scratch(np.arange(250), tmp_path / "scratch")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document["attributes"][CONTENTS])
    path.write_text(json.dumps(document))


def swap(first: Path, second: Path) -> None:
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


DOCUMENTS = "phase1/documents"


@pytest.mark.parametrize(
    ("damage", "made"),
    [
        # The first chunk of the second shard of one seed: rows 128 to 191, in the second block.
        (lambda place: flip(place / DOCUMENTS / "c.1.1.0", 5), 100),
        (lambda place: swap(place / DOCUMENTS / "c.0.0.0", place / DOCUMENTS / "c.1.0.0"), 400),
        (lambda place: (place / DOCUMENTS / "c.0.0.0").unlink(), 500),
        (lambda place: (place / DOCUMENTS / "zarr.json").write_text("{}"), 500),
        (lambda place: (place / "zarr.json").write_text("{"), 500),
        (lambda place: edit(place / "zarr.json", lambda contents: contents.pop("made_from")), 500),
        (lambda place: edit(place / "zarr.json", lambda contents: contents.update(made_from=3)), 500),
        (
            lambda place: edit(
                place / "zarr.json", lambda contents: contents["made_from"].update({DOCUMENTS: 3})
            ),
            500,
        ),
        (
            lambda place: edit(place / "zarr.json", lambda contents: contents["made_from"][DOCUMENTS].pop()),
            100,
        ),
        (
            lambda place: edit(place / "zarr.json", lambda contents: contents.update(artifact="embeddings")),
            500,
        ),
    ],
    ids=[
        "flipped",
        "swapped",
        "deleted",
        "array document",
        "broken document",
        "no origins",
        "origins of another kind",
        "origins of an array of another kind",
        "too few origins",
        "another artifact",
    ],
)
def test_what_is_damaged_is_made_again(
    codes: Codes, tmp_path: Path, damage: Callable[[Path], None], made: int
) -> None:
    damage(codes.place)
    codes.write(np.arange(250))
    assert codes.made == made
    assert digests(codes.place) == codes.from_scratch(np.arange(250), tmp_path / "scratch")


def test_chunks_of_a_codec_that_is_not_known_are_made_again(codes: Codes) -> None:
    path = codes.place / DOCUMENTS / "zarr.json"
    path.write_text(path.read_text().replace('"bytes"', '"bites"'))
    codes.write(np.arange(250))
    assert codes.made == 500


@hypothesis_settings(max_examples=count(full=100, quick=10))
@given(data=st.data())
def test_any_history_ends_with_the_bytes_of_none(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("history")
    codes = Codes(Layout(root / "lake"))
    numbers = np.arange(0)
    for _ in range(data.draw(st.integers(1, 3))):
        size = data.draw(st.integers(1, 450))
        numbers = np.concatenate([numbers[:size], np.arange(len(numbers), size)])
        for at in data.draw(st.lists(st.integers(0, size - 1), max_size=2)):
            numbers[at] += 1
        codes.write(numbers)
    assert digests(codes.place) == codes.from_scratch(numbers, root / "scratch")
    found = open_leaf(codes.place, BINARY_CODES).read(DOCUMENTS)
    np.testing.assert_array_equal(found[1, :, 1], (numbers * 2 + SEEDS[1] + len(codes.recipe)) % 251)


def test_nothing_is_taken_over_where_there_is_nothing(tmp_path: Path) -> None:
    before = Earlier.at(tmp_path / "none", BINARY_CODES)
    assert before == Earlier(None, {})
    assert before.block(DOCUMENTS, 0, "", (0, slice(0, 1))) is None
    assert before.attribute("storage", "") is None


def test_an_attribute_is_taken_over_by_its_origin(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    place = layout.leaf("embeddings", CELL)
    with commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(3))
        leaf.write("queries", vectors(3))
        leaf.describe(**CELL, corpus_digest="", encoder={}, storage={"overlap": 0.25})
        leaf.made_from["storage"] = ["origin"]
    before = Earlier.at(place, EMBEDDINGS)
    assert before.attribute("storage", "origin") == {"overlap": 0.25}
    assert before.attribute("storage", "another") is None
    assert before.attribute("encoder", "origin") is None


def test_blocks_of_an_array_are_those_of_its_values(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=250)
    values = vectors(250)
    assert array_blocks(open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS), "documents") == [
        Block(at, rows, digest.of_array(values[at : at + rows]))
        for at, rows in ((0, 100), (100, 100), (200, 50))
    ]


def test_blocks_of_texts_are_their_batches() -> None:
    assert text_blocks([["a", "b"], ["c"]]) == [
        Block(0, 2, digest.of_texts(["a", "b"])),
        Block(2, 1, digest.of_texts(["c"])),
    ]


@pytest.mark.parametrize("row_bytes", [8, 64, 768, 2048, 3000])
def test_shards_that_are_full_never_move(row_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the sizes that real leaves have: an array of several shards is cut as a longer one is."""
    monkeypatch.undo()
    field = Field(("document", "byte"), "uint8", "codes", rows="document")
    random = np.random.RandomState(row_bytes)
    for rows in (2.0 ** random.uniform(0, 30, count(full=2000, quick=200))).astype(int).tolist():
        chunks, shards = field.chunks_and_shards((rows, row_bytes))
        assert shards is not None
        if rows > shards[0]:
            assert field.chunks_and_shards((8 * rows, row_bytes)) == (chunks, shards)
