"""Small artifacts for tests of the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.layout import Layout
from store.leaf.commit import LeafWriter, commit_leaf, metadata_checksums
from store.leaf.reading import CONTENTS

CELL = {"model": "m", "dataset": "d"}


def vectors(rows: int, dimension: int = 16, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Seeded unit vectors in float16."""
    drawn = np.random.RandomState(seed).standard_normal((rows, dimension))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float16)


def describe_embeddings(leaf: LeafWriter) -> None:
    """The attributes that an embeddings leaf must have."""
    leaf.describe(**CELL, corpus_digest="0" * 64, encoder={"name": "tiny"}, storage={})


def commit_embeddings(layout: Layout, rows: int = 100, seed: int = 0, queries: int = 10) -> None:
    """A complete embeddings leaf."""
    with commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", vectors(rows, seed=seed))
        leaf.write("queries", vectors(queries, seed=seed + 1))
        describe_embeddings(leaf)


def commit_judgements(layout: Layout, documents: int, queries: int, dataset: str = "d") -> None:
    """A complete leaf of judgements: each query has one relevant document."""
    with commit_leaf(layout, JUDGEMENTS, {"dataset": dataset}) as leaf:
        leaf.write("document_id", [f"document-{row}" for row in range(documents)])
        leaf.write("query_id", [f"query-{row}" for row in range(queries)])
        rows = np.arange(queries, dtype=np.int32)
        leaf.write("judged_query", rows)
        leaf.write("judged_document", rows)
        leaf.write("relevance", np.ones(queries, np.int32))
        leaf.write("self_row", np.full(queries, -1, np.int32))
        leaf.describe(dataset=dataset, source="test", corpus_digest="0" * 64, exclude_self=False, counts={})


def forge(leaf: Path) -> None:
    """List the metadata of a leaf as it is now, as someone who changed it on purpose would."""
    root = leaf / "zarr.json"
    content = json.loads(root.read_text())
    content["attributes"][CONTENTS]["documents"] = metadata_checksums(leaf)
    root.write_text(json.dumps(content))
