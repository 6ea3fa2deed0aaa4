"""A whole study of one cell, small enough to be verified in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.artifacts.quality import QUALITY
from store.layout import Layout
from store.leaf.commit import commit_leaf
from tests.store.lakes import CELL, commit_embeddings, commit_judgements
from tests.store.revisions.lake_projects import LakeProject, make_project

EMBEDDINGS = "lake.zarr/embeddings/m/d"
CODES = "lake.zarr/binary_codes/m/d"
JUDGEMENTS = "lake.zarr/judgements/d"
QUALITIES = "lake.zarr/quality/m/d"
NEIGHBOURS = "lake.zarr/exact_neighbours/m/d"

KEPT = (EMBEDDINGS, CODES, JUDGEMENTS, QUALITIES)
ROWS = 600
QUERIES = 10
_CONFIGURATION = Configuration("float32", "", "ip", 512, 64)


def commit_study(layout: Layout, seed: int = 0) -> None:
    """Every artifact of the cell, one of which is not kept."""
    random = np.random.RandomState(seed)
    commit_embeddings(layout, rows=ROWS, seed=seed, queries=QUERIES)
    commit_judgements(layout, ROWS, QUERIES)
    with commit_leaf(layout, BINARY_CODES, CELL) as leaf:
        leaf.write("phase1/documents", random.randint(0, 256, (2, ROWS, 4)).astype(np.uint8))
        leaf.write("phase1/queries", random.randint(0, 256, (2, QUERIES, 4)).astype(np.uint8))
        leaf.write("phase1/seed", np.arange(2, dtype=np.int32))
        leaf.describe_group("phase1", bits=[32])
        leaf.describe(**CELL, fit_rows=0)
    with commit_leaf(layout, QUALITY, CELL) as leaf:
        for name, values in columns_of([_CONFIGURATION]).items():
            leaf.write(name, values)
        leaf.write("metric", ["recall", "ndcg"])
        leaf.write("k", np.array([1, 10], np.int32))
        leaf.write("value", random.uniform(size=(1, 2, 2, QUERIES)).astype(np.float32))
        leaf.write("expected_recall", np.full((1, 2, QUERIES), np.nan, np.float32))
        leaf.write("tie_cut", np.zeros((1, 2, QUERIES), bool))
        leaf.describe(**CELL, undertrained=[])
    with commit_leaf(layout, EXACT_NEIGHBOURS, CELL) as leaf:
        for name, values in columns_of([_CONFIGURATION]).items():
            leaf.write(name, values)
        leaf.write("rows", random.randint(0, ROWS, (1, QUERIES, 5)).astype(np.int32))
        leaf.write("scores", random.uniform(size=(1, QUERIES, 5)))
        leaf.describe(**CELL, undertrained=[])


def make_study(root: Path, *, tag: str = "") -> LakeProject:
    """A project whose study is computed, recorded by DVC and committed."""
    project = make_project(root)
    commit_study(project.layout)
    save(project, "study", tag=tag)
    return project


def save(project: LakeProject, message: str, *, tag: str = "") -> None:
    """Record the study as it is now."""
    project.save(message, KEPT, not_kept=[NEIGHBOURS], tag=tag)
