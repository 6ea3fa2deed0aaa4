"""What a leaf says of its origin is kept as it was said, and anything else in its place is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.errors import DamagedArtifact
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.origin import Origin, disagreements, remedy, step_of
from store.leaf.reading import CONTENTS, Leaf, open_leaf
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, describe_embeddings, vectors

PATH = "lake.zarr/embeddings/m/d"


def commit(layout: Layout, origin: Origin) -> Leaf:
    with commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(50))
        leaf.write("queries", vectors(5))
        describe_embeddings(leaf)
        leaf.origin = origin
    return open_leaf(layout.root / PATH, EMBEDDINGS, CELL)


def test_what_was_said_is_read_and_no_part_of_what_the_leaf_holds(tmp_path: Path) -> None:
    said = Origin({"d": "0" * 64}, {"lake.zarr/judgements/d": "1" * 64}, {"embed": {"slab": 3}})
    leaf = commit(Layout(tmp_path), said)
    assert leaf.origin == said
    silent = commit(Layout(tmp_path / "silent"), Origin())
    assert silent.origin == Origin({"d": "0" * 64})
    assert silent.identity == leaf.identity
    assert "origin" not in (tmp_path / "silent" / PATH / "zarr.json").read_text()


@pytest.mark.parametrize(
    "origin",
    [
        [],
        "origin",
        {"corpora": []},
        {"corpora": {"d": 1}},
        {"leaves": {PATH: None}},
        {"leaves": {"x": "1"}},
        {"leaves": {"lake.zarr": "1"}},
        {"leaves": {"lake.zarr/../../etc": "1"}},
        {"leaves": {"/etc/passwd": "1"}},
        {"settings": 3},
    ],
)
def test_an_origin_that_no_commit_wrote_is_damage(tmp_path: Path, origin: Any) -> None:
    commit_embeddings(Layout(tmp_path))
    document = tmp_path / PATH / "zarr.json"
    content = json.loads(document.read_text())
    content["attributes"][CONTENTS]["origin"] = origin
    document.write_text(json.dumps(content))
    with pytest.raises(DamagedArtifact, match="embeddings/m/d: "):
        open_leaf(tmp_path / PATH, EMBEDDINGS)


def test_leaves_without_an_origin_are_compared_by_their_corpora_alone(tmp_path: Path) -> None:
    from store.artifacts.judgements import JUDGEMENTS

    layout = Layout(tmp_path)
    commit_embeddings(layout)
    commit_judgements(layout, 100, 10)
    place = tmp_path / "lake.zarr/judgements/d"
    leaves = {
        PATH: open_leaf(tmp_path / PATH, EMBEDDINGS),
        "lake.zarr/judgements/d": open_leaf(place, JUDGEMENTS),
    }
    assert list(disagreements(leaves)) == []
    document = place / "zarr.json"
    document.write_text(document.read_text().replace("0" * 64, "f" * 64))
    leaves["lake.zarr/judgements/d"] = open_leaf(place, JUDGEMENTS)
    (found,) = disagreements(leaves)
    assert (found.path, found.problem) == (PATH, "is of another corpus d than lake.zarr/judgements/d")


def test_a_remedy_names_the_run_that_makes_the_leaf() -> None:
    assert step_of("embed", PATH) == "embed@m-d"
    assert step_of("results", "lake.zarr/results") == "results"
    assert "`dvc repro embed@m-d`" in remedy("embed@m-d")
