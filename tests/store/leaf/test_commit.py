"""An artifact is never half there, and the same values give the same bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zarr

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.codecs import phase1
from store.errors import DamagedArtifact, InvalidInput, MissingArtifact
from store.layout import Layout
from store.leaf.commit import commit_leaf, replace_folder, write_file
from store.leaf.reading import Leaf, open_leaf
from tests.counts import count
from tests.store.lakes import CELL, commit_embeddings, describe_embeddings, vectors
from tests.store.leaf import writers
from tests.store.leaf.writers import Writers


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_values_come_back_and_bytes_repeat(tmp_path: Path) -> None:
    first, second = Layout(tmp_path / "a"), Layout(tmp_path / "b")
    for layout in (first, second):
        commit_embeddings(layout)
    leaf = open_leaf(first.leaf("embeddings", CELL), EMBEDDINGS)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(100))
    assert leaf.attributes["encoder"] == {"name": "tiny"}
    assert digests(first.lake) == digests(second.lake)


def test_parent_groups_make_the_lake_one_tree(tmp_path: Path) -> None:
    commit_embeddings(Layout(tmp_path))
    tree = zarr.open_group(tmp_path / "lake.zarr", mode="r", use_consolidated=False)
    assert "embeddings/m/d/documents" in dict(tree.members(max_depth=None))


def test_overwriting_replaces_everything(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=100)
    commit_embeddings(layout, rows=7, seed=5)
    leaf = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(7, seed=5))
    assert not list(layout.staging.iterdir())


def test_an_error_while_writing_leaves_the_earlier_artifact(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    commit_embeddings(layout)
    before = digests(layout.lake)
    with pytest.raises(RuntimeError, match="encoder broke"), commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(5))
        raise RuntimeError("encoder broke")
    assert digests(layout.lake) == before
    assert not list(layout.staging.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda leaf: leaf.write("documents", vectors(5).astype(np.float32)),
            "got float32, expected float16",
        ),
        (lambda leaf: leaf.write("documents", vectors(5)[0]), "got shape"),
        (lambda leaf: leaf.write("vectors", vectors(5)), "not an array of this artifact"),
        (lambda leaf: leaf.describe(host="here"), "'host' is not in its schema"),
        (lambda leaf: leaf.describe(encoder="tiny"), "'encoder' is str"),
        (lambda leaf: None, "array 'documents' is missing"),
    ],
)
def test_what_the_schema_does_not_declare_is_refused(tmp_path: Path, spoil: object, message: str) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InvalidInput, match=message), commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("queries", vectors(3))
        describe_embeddings(leaf)
        if "attribute" in message or "'host'" in message or "'encoder'" in message:
            leaf.write("documents", vectors(5))
        spoil(leaf)  # type: ignore[operator]
    assert not layout.leaf("embeddings", CELL).exists()


def test_arrays_of_one_group_must_agree_on_a_dimension(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match=r"dimension 'dimension' is 8 in 'queries' but 16"),
        commit_leaf(Layout(tmp_path), EMBEDDINGS, CELL) as leaf,
    ):
        leaf.write("documents", vectors(5))
        leaf.write("queries", vectors(5, dimension=8))
        describe_embeddings(leaf)


@pytest.mark.parametrize("step", [1, 7, 64, 65, 1000])
def test_filling_in_blocks_of_any_size_gives_the_same_bytes(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shards of 2 chunks of 64 rows, so that 300 rows span several.
    monkeypatch.setattr("store.leaf.schema.SHARD_CHUNKS", 2)
    monkeypatch.setattr("store.leaf.schema.CHUNK_BYTES", 64 * 4)
    codes = np.random.RandomState(0).randint(0, 256, (2, 300, 4)).astype(np.uint8)
    whole, parts = Layout(tmp_path / "whole"), Layout(tmp_path / "parts")
    for layout, width in ((whole, 300), (parts, step)):
        with commit_leaf(layout, BINARY_CODES, CELL) as leaf:
            array = leaf.create("phase1/documents", codes.shape)
            assert array.shards == (1, 128, 4)
            for seed in range(2):
                leaf.fill(array, (codes[seed, at : at + width] for at in range(0, 300, width)), seed)
            leaf.write("phase1/queries", codes[:, :3])
            leaf.write("phase1/seed", np.arange(2, dtype=np.int32))
            leaf.describe_group("phase1", bits=[32])
            leaf.describe(**CELL, fit_rows=0)
    assert digests(whole.lake) == digests(parts.lake)
    found = open_leaf(parts.leaf("binary_codes", CELL), BINARY_CODES)
    np.testing.assert_array_equal(found.read("phase1/documents"), codes)
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in found.blocks("phase1/documents", 1)]), codes[1]
    )


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match="got 5 rows, expected 6"),
        commit_leaf(Layout(tmp_path), EMBEDDINGS, CELL) as leaf,
    ):
        leaf.fill(leaf.create("documents", (6, 16)), [vectors(5)])


def test_replacing_works_without_an_atomic_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.leaf.commit._exchange", lambda first, second: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "value").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "value").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.fixture
def forked() -> Iterator[Writers]:
    forked = Writers()
    yield forked
    forked.close()


def leaves_of(layout: Layout) -> dict[str, dict[str, str]]:
    """Digests of the files of every leaf that is there."""
    places = {schema.artifact: layout.leaf(schema.artifact, CELL) for schema in writers.LEAVES}
    return {artifact: digests(place) for artifact, place in places.items() if place.exists()}


def test_a_writer_killed_anywhere_leaves_whole_artifacts(
    tmp_path: Path, forked: Writers, record_property: Callable[[str, object], None]
) -> None:
    """kill -9: each leaf is absent, the old one or the new one; the next run ends as an undisturbed one does."""
    undisturbed, seconds = [], 1.0
    for version in range(2):
        layout = Layout(tmp_path / f"undisturbed-{version}")
        seconds = min(seconds, forked.run(layout.root, version))
        undisturbed.append(leaves_of(layout))
    layout = Layout(tmp_path / "lake")
    random = np.random.RandomState(0)
    wanted = count(full=200, quick=20)
    killed, tries = 0, 0
    states: Counter[str] = Counter()
    while killed < wanted:
        tries += 1
        assert tries <= 5 * wanted
        version = tries % 2
        if tries % 10 == 0:
            shutil.rmtree(layout.lake)
        before = leaves_of(layout)
        if tries % 3:
            hit = forked.kill(layout.root, version, random.uniform(0, seconds))
        else:
            hit = forked.kill(layout.root, version, random.uniform(0, 0.003), renaming=random.randint(1, 3))
        killed += hit
        after = leaves_of(layout)
        for schema in writers.LEAVES:
            name = schema.artifact
            assert after.get(name) in (before.get(name), undisturbed[version][name])
            if name in after:
                check_values(open_leaf(layout.leaf(name, CELL), schema))
        if hit:
            changed = sum(after.get(name) != before.get(name) for name in undisturbed[version])
            states[f"{changed} of 2 leaves replaced"] += 1
            states["debris left"] += any(layout.staging.iterdir()) if layout.staging.exists() else 0
        # A machine that is busy for a moment does not set the pace.
        seconds = min(forked.run(layout.root, version), 2 * seconds)
        assert leaves_of(layout) == undisturbed[version]
        assert not any(layout.staging.iterdir())
    record_property("writers killed", killed)
    record_property("what they left", dict(sorted(states.items())))
    if wanted >= 200:
        assert all(states[f"{changed} of 2 leaves replaced"] for changed in range(3))
        assert states["debris left"]


@cache
def expected_codes(seed: int) -> np.ndarray:
    return phase1.encode(expected_vectors(), writers.BITS, seed)


@cache
def expected_vectors() -> np.ndarray:
    return vectors(writers.SIZES[1])


def check_values(leaf: Leaf) -> None:
    """Every value of a leaf of `writers` is the one it should be, and all arrays are of one version."""
    rows = leaf.size("document")
    assert rows in writers.SIZES
    if leaf.schema is EMBEDDINGS:
        np.testing.assert_array_equal(leaf.read("documents"), expected_vectors()[:rows])
    else:
        for index, seed in enumerate(writers.SEEDS):
            np.testing.assert_array_equal(leaf.read("phase1/documents", index), expected_codes(seed)[:rows])


def test_a_file_that_could_not_be_put_into_its_place_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Path, target: Path) -> None:
        raise OSError("no longer there")

    layout, target = Layout(tmp_path), tmp_path / "lake.zarr" / "zarr.json"
    write_file(layout, target, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        with pytest.raises(OSError, match="no longer there"):
            write_file(layout, target, b"new")
    assert target.read_bytes() == b"old"
    write_file(layout, target, b"new")
    assert target.read_bytes() == b"new"


def test_readers_see_the_old_or_the_new_artifact(
    tmp_path: Path, forked: Writers, record_property: Callable[[str, object], None]
) -> None:
    """Reading goes on while two versions are committed in turn; what changed under a reader raises."""
    layout = Layout(tmp_path)
    for version in range(2):
        forked.run(layout.root, version)
    wanted = count(full=200, quick=20)
    ended = threading.Event()

    def commit() -> None:
        for version in range(wanted):
            forked.run(layout.root, version % 2)
        ended.set()

    writer = threading.Thread(target=commit)
    writer.start()
    seen: Counter[str] = Counter()
    try:
        while not ended.is_set():
            for schema in writers.LEAVES:
                try:
                    leaf = open_leaf(layout.leaf(schema.artifact, CELL), schema)
                    check_values(leaf)
                    seen[f"{leaf.size('document')} documents"] += 1
                except (DamagedArtifact, MissingArtifact) as error:
                    seen[re.sub(r".*(changed since|not here|missing).*", r"\1", str(error))] += 1
    finally:
        writer.join()
    versions = {f"{size} documents" for size in writers.SIZES}
    assert versions <= set(seen) <= versions | {"changed since", "not here"}
    record_property("commits under a reader", wanted)
    record_property("what the reader saw", dict(sorted(seen.items())))


@pytest.mark.parametrize("grown", [False, True])
def test_a_leaf_that_was_replaced_is_not_read_on(tmp_path: Path, forked: Writers, grown: bool) -> None:
    """Neither by whole rows nor by chunks, where a longer array would read on into chunks that are not known."""
    layout = Layout(tmp_path)
    forked.run(layout.root, 0 if grown else 1)
    leaf = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    expected = vectors(writers.SIZES[1])[: leaf.size("document")]
    forked.run(layout.root, 1 if grown else 0)
    forwards, backwards = slice(None), slice(None, None, -1)
    for rows in (forwards, backwards):
        try:
            # The chunks of the smaller one are the same files in the larger one.
            np.testing.assert_array_equal(leaf.read("documents", rows), expected[rows])
            assert grown
        except (DamagedArtifact, MissingArtifact) as error:
            assert not grown
            assert re.search(r"has changed since it was opened|is not here|open it again", str(error))  # noqa: PT017
