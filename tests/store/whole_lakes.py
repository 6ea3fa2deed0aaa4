"""A lake with a leaf of every question for one cell, values drawn, small enough to be loaded whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.configuration import NO_SEED, Configuration, columns_of
from store.artifacts.geometry import GEOMETRY
from store.artifacts.neighbours import (
    BINARY_NEIGHBOURS,
    EXACT_NEIGHBOURS,
    FURTHER_NEIGHBOURS,
    QUANTIZED_NEIGHBOURS,
    RESCORED_NEIGHBOURS,
)
from store.artifacts.predicted_quality import PREDICTED_QUALITY
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.layout import Layout
from store.leaf.commit import LeafWriter, commit_leaf
from store.leaf.schema import Schema
from tests.store.lakes import CELL, commit_embeddings, commit_judgements

ROWS, QUERIES, RANKS = 100, 10, 6
SEEDS = (0, 1, 2, 3, 4)
KS = (1, 5, 10)


def settings(codec: str, size: int, seed: int = NO_SEED, **rest: Any) -> Configuration:
    return Configuration(codec, "", "ip", 8 * size, size, seed=seed, **rest)


EXACT = (settings("float32", 64),)
BINARY = tuple(settings("phase1", size, seed) for size in (8, 16, 32) for seed in SEEDS)
QUANTIZED = (settings("pq", 8, 0), settings("pq", 16, 0), settings("int8", 16))
SEARCHED = (settings("itq", 8, 0), settings("itq", 8, 1))
RESCORED = tuple(
    settings("phase1", 8, 0, rescore="int8", oversample=depth, rescore_bytes=16) for depth in (2, 4)
)


def commit_whole_lake(layout: Layout, model: str = "m", seed: int = 0) -> None:
    """Every leaf of the cell of ``model``, and the judgements of its dataset."""
    draw = np.random.RandomState(seed)
    cell = {**CELL, "model": model}
    commit_judgements(layout, ROWS, QUERIES)
    if model == CELL["model"]:
        commit_embeddings(layout, rows=ROWS, queries=QUERIES)
    with commit_leaf(layout, BINARY_CODES, cell) as leaf:
        _write_codes(leaf, draw, "phase1", 32, SEEDS, codec="phase1", bits=[64, 128, 256])
        leaf.write("phase1/queries", draw.randint(0, 256, (len(SEEDS), QUERIES, 32)).astype(np.uint8))
        leaf.describe(**cell, fit_rows=0)
    with commit_leaf(layout, QUANTIZED_CODES, cell) as leaf:
        _write_codes(leaf, draw, "pq-8", 8, (0,), codec="pq")
        _write_codes(leaf, draw, "pq-16", 16, (0,), codec="pq")
        _write_codes(leaf, draw, "int8", 16, (NO_SEED,), codec="int8")
        leaf.describe(**cell, fit_rows=ROWS)
    _commit_neighbours(layout, draw, EXACT_NEIGHBOURS, EXACT, cell)
    _commit_neighbours(layout, draw, QUANTIZED_NEIGHBOURS, QUANTIZED, cell, ["pq"])
    _commit_neighbours(layout, draw, BINARY_NEIGHBOURS, BINARY, cell)
    _commit_neighbours(layout, draw, FURTHER_NEIGHBOURS, SEARCHED, cell, ["opq"])
    _commit_neighbours(layout, draw, RESCORED_NEIGHBOURS, RESCORED, cell, ranks=RANKS - 2)
    _commit_quality(layout, draw, QUALITY, (*EXACT, *BINARY, *QUANTIZED), cell, ["pq"])
    _commit_quality(layout, draw, FURTHER_QUALITY, (*SEARCHED, *RESCORED), cell, ["opq"])
    with commit_leaf(layout, GEOMETRY, cell) as leaf:
        leaf.write("measure", ["mean_cosine", "hubness", "anisotropy"])
        for name in ("value", "ci_low", "ci_high"):
            leaf.write(name, draw.uniform(size=3))
        leaf.write("sample_size", np.array([10, 20, 30], np.int32))
        leaf.describe(**cell, confidence=0.95)
    with commit_leaf(layout, PREDICTED_QUALITY, cell) as leaf:
        leaf.write("metric", ["recall", "overlap"])
        leaf.write("bits", np.array([64, 128, 256], np.int32))
        leaf.write("oversample", np.array([0, 2, 4], np.int32))
        leaf.write("k", np.array(KS, np.int32))
        leaf.write("value", draw.uniform(size=(2, 3, 3, len(KS))))
        leaf.describe(**cell)


def _write_codes(
    leaf: LeafWriter, draw: Any, group: str, size: int, seeds: Sequence[int], **attributes: Any
) -> None:
    codes = draw.randint(0, 256, (len(seeds), ROWS, size)).astype(np.uint8)
    leaf.write(f"{group}/documents", codes)
    leaf.write(f"{group}/seed", np.array(seeds, np.int32))
    leaf.describe_group(group, **attributes)


def _commit_neighbours(
    layout: Layout,
    draw: Any,
    schema: Schema,
    found: Sequence[Configuration],
    cell: dict[str, str],
    undertrained: Sequence[str] = (),
    ranks: int = RANKS,
) -> None:
    shape = (len(found), QUERIES, ranks)
    with commit_leaf(layout, schema, cell) as leaf:
        for name, values in columns_of(found).items():
            leaf.write(name, values)
        leaf.write("rows", draw.randint(0, ROWS, shape).astype(np.int32))
        if schema is BINARY_NEIGHBOURS:
            leaf.write("scores", draw.randint(0, 64, shape).astype(np.int32))
            leaf.write("k", np.array(KS, np.int32))
            for name in ("closer", "tied"):
                leaf.write(name, draw.randint(0, 9, (len(found), QUERIES, len(KS))).astype(np.int32))
            leaf.write("judged_distance", draw.randint(0, 64, (len(found), QUERIES)).astype(np.int32))
        else:
            leaf.write("scores", draw.uniform(size=shape))
        leaf.describe(**cell, undertrained=list(undertrained))


def _commit_quality(
    layout: Layout,
    draw: Any,
    schema: Schema,
    found: Sequence[Configuration],
    cell: dict[str, str],
    undertrained: Sequence[str],
) -> None:
    shape = (len(found), 2, len(KS), QUERIES)
    value = draw.uniform(size=shape).astype(np.float32)
    expected = draw.uniform(size=(len(found), len(KS), QUERIES)).astype(np.float32)
    cut = draw.uniform(size=expected.shape) > 0.5
    rescored = np.array([configuration.rescore != "" for configuration in found])
    for k in (0, 2):
        value[rescored, :, k] = np.nan
    expected[rescored], cut[rescored] = np.nan, False
    with commit_leaf(layout, schema, cell) as leaf:
        for name, values in columns_of(found).items():
            leaf.write(name, values)
        leaf.write("metric", ["recall", "ndcg"])
        leaf.write("k", np.array(KS, np.int32))
        leaf.write("value", value)
        leaf.write("expected_recall", expected)
        leaf.write("tie_cut", cut)
        leaf.describe(**cell, undertrained=list(undertrained))
