"""Two writers never mix: one process stages a leaf at a time, and commits what it wrote or nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.errors import UnavailableResource
from store.layout import Layout
from store.leaf.commit import commit_leaf, write_file
from store.leaf.ownership import claimed
from store.leaf.reading import open_leaf
from store.leaf.unfinished import Unfinished
from tests.paths import ROOT
from tests.store.lakes import CELL, commit_embeddings, describe_embeddings, vectors
from tests.store.leaf.test_commit import digests

WRITER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from store.artifacts.embeddings import EMBEDDINGS
    from store.layout import Layout
    from store.leaf.commit import commit_leaf
    from tests.store.lakes import CELL, describe_embeddings, vectors

    root, seed = Path(sys.argv[1]), int(sys.argv[2])
    with commit_leaf(Layout(root), EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(50, seed=seed))
        (root / "half").touch()
        while not (root / "go").exists():
            time.sleep(0.01)
        leaf.write("queries", vectors(5, seed=seed))
        describe_embeddings(leaf)
    """
)


def start(root: Path, seed: int) -> subprocess.Popen[bytes]:
    """A writer that waits in the middle until there is a file ``go``."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(seed)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (root / "half").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_a_second_writer_is_told_who_writes_and_the_first_commits_what_it_wrote(layout: Layout) -> None:
    process = start(layout.root, 1)
    with pytest.raises(UnavailableResource) as refused:
        commit_embeddings(layout, seed=7)
    assert re.fullmatch(
        rf"{layout.leaf('embeddings', CELL)}: process {process.pid} on \S+ is at work on it; "
        "wait until that has ended, or stop it, then run again",
        str(refused.value),
    )
    (layout.root / "go").touch()
    assert process.wait(30) == 0
    leaf = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS, CELL)
    np.testing.assert_array_equal(leaf.read("documents"), vectors(50, seed=1))
    np.testing.assert_array_equal(leaf.read("queries"), vectors(5, seed=1))
    assert list(layout.staging.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_whoever_stages_next(layout: Layout) -> None:
    process = start(layout.root, 1)
    process.kill()
    process.wait()
    assert len(list(layout.staging.iterdir())) == 2
    write_file(layout, layout.root / "other", b"")
    assert list(layout.staging.iterdir()) == []
    commit_embeddings(layout, seed=7)
    found = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    np.testing.assert_array_equal(found.read("documents"), vectors(100, seed=7))


@pytest.mark.parametrize(
    ("meddle", "named"),
    [
        (lambda folder: (folder / "documents/c.1.0").write_bytes(b"another shard"), "documents/c.1.0"),
        (lambda folder: (folder / "documents/c.0.0").unlink(), "documents/c.0.0"),
        (lambda folder: (folder / "documents/c.0.0").write_bytes(b"short"), "documents/c.0.0"),
        (
            lambda folder: (folder / "documents/zarr.json").write_text(
                (folder / "documents/zarr.json").read_text().replace("100", "101")
            ),
            "documents/zarr.json",
        ),
        # A sound chunk file of another writer: every checksum in it is right.
        (
            lambda folder: (folder / "documents/c.0.0").write_bytes(
                (folder.parents[3] / "foreign/lake.zarr/embeddings/m/d/documents/c.0.0").read_bytes()
            ),
            "documents/c.0.0",
        ),
    ],
)
def test_a_commit_refuses_what_it_did_not_write(
    layout: Layout, meddle: Callable[[Path], None], named: str
) -> None:
    commit_embeddings(Layout(layout.root / "foreign"), seed=9)
    commit_embeddings(layout, seed=1)
    before = digests(layout.lake)
    with (
        pytest.raises(UnavailableResource, match=rf"{re.escape(named)} is not what this run wrote"),
        commit_leaf(layout, EMBEDDINGS, CELL) as leaf,
    ):
        leaf.write("documents", vectors(100))
        leaf.write("queries", vectors(10))
        describe_embeddings(leaf)
        meddle(leaf.path)
    assert digests(layout.lake) == before
    assert list(layout.staging.iterdir()) == []


def test_files_that_many_processes_write_at_once_are_whole(tmp_path: Path) -> None:
    """Group metadata, which every first leaf writes, and parts of an unfinished leaf."""
    rounds, writers = 6, 10
    for number in range(rounds):
        layout = Layout(tmp_path / str(number))
        layout.root.mkdir()
        start_at = time.time() + 0.2
        children = []
        for writer in range(writers):
            child = os.fork()
            if not child:
                status = 1
                try:
                    time.sleep(max(0.0, start_at - time.time()))
                    write_file(layout, layout.lake / "zarr.json", json.dumps([writer] * 1000).encode())
                    Unfinished(layout, "embed--m--d").keep("documents-000000", "same", np.arange(500))
                    commit_embeddings(layout) if not writer else None
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * writers
        content = json.loads((layout.lake / "zarr.json").read_text())
        assert content == [content[0]] * 1000
        part = Unfinished(layout, "embed--m--d").read("documents-000000", "same")
        assert part is not None
        open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
        assert list(layout.staging.iterdir()) == []


def test_two_threads_do_not_share_a_claim(tmp_path: Path) -> None:
    with (
        claimed(tmp_path, "name", "the thing"),
        pytest.raises(UnavailableResource, match=f"the thing: process {os.getpid()} on "),
        claimed(tmp_path, "name", "the thing"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def elsewhere() -> Iterator[Path]:
    """A folder on another file system than temporary ones, if there is one."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("no second file system here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


other_file_system = pytest.fixture(elsewhere)


def commit_twice(layout: Layout) -> None:
    """A leaf, and another in its place, as two runs would."""
    for seed in (1, 2):
        commit_embeddings(layout, seed=seed)
        leaf = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS, CELL)
        np.testing.assert_array_equal(leaf.read("documents"), vectors(100, seed=seed))
        assert list(layout.staging.iterdir()) == []


def test_a_lake_that_is_a_link_stays_one(layout: Layout) -> None:
    (layout.root / "big").mkdir()
    layout.lake.symlink_to("big")
    commit_twice(layout)
    assert layout.lake.is_symlink()
    assert sorted(path.name for path in (layout.root / "big").iterdir()) == ["embeddings", "zarr.json"]


def test_a_leaf_that_is_a_link_stays_one(layout: Layout) -> None:
    place = layout.leaf("embeddings", CELL)
    place.parent.mkdir(parents=True)
    place.symlink_to(layout.root / "big")
    commit_twice(layout)
    assert place.is_symlink()
    assert (layout.root / "big/zarr.json").is_file()


@pytest.mark.parametrize("linked", ["lake.zarr", "lake.zarr/embeddings/m/d"])
def test_what_lies_on_another_file_system_is_staged_there(
    layout: Layout, other_file_system: Path, linked: str
) -> None:
    place = layout.root / linked
    place.parent.mkdir(parents=True, exist_ok=True)
    (other_file_system / "big").mkdir()
    place.symlink_to(other_file_system / "big")
    commit_twice(layout)
    assert place.is_symlink()
    assert [path.name for path in other_file_system.iterdir()] == ["big"]
    assert not list(other_file_system.rglob(".bitlake"))


def test_a_killed_writer_on_another_file_system_poisons_nothing(
    layout: Layout, other_file_system: Path
) -> None:
    layout.lake.symlink_to(other_file_system)
    process = start(layout.root, 1)
    process.kill()
    process.wait()
    assert list(other_file_system.rglob(".bitlake"))
    commit_twice(layout)
    assert not list(other_file_system.rglob(".bitlake"))
