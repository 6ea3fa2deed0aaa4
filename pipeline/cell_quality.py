"""Per-query quality of a cell, from the lake to what figures are made from."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from analysis.quality.results import CellQuality
from store.artifacts.configuration import read_configurations
from store.errors import InvalidInput
from store.leaf.reading import Leaf


def read_quality(leaf: Leaf, group: str = "") -> CellQuality:
    """The quality that a leaf holds, or a group below it. Where ties were not counted there are none worth it."""
    prefix = f"{group}/" if group else ""
    value, ks = leaf.read(f"{prefix}value"), leaf.read(f"{prefix}k").tolist()
    shape = (len(value), len(ks), value.shape[-1])
    counted = f"{prefix}tie_cut" in leaf.paths
    return CellQuality(
        model=leaf.attributes["model"],
        dataset=leaf.attributes["dataset"],
        configurations=read_configurations(leaf, group),
        metrics=leaf.strings(f"{prefix}metric"),
        ks=ks,
        value=value,
        expected_recall=leaf.read(f"{prefix}expected_recall")
        if counted
        else np.full(shape, np.nan, np.float32),
        tie_cut=leaf.read(f"{prefix}tie_cut") if counted else np.zeros(shape, np.bool_),
        undertrained=frozenset(leaf.attributes["undertrained"]),
    )


def of_codecs(parts: Sequence[CellQuality], codecs: Set[str]) -> CellQuality:
    """What several parts of one cell say of some codecs. InvalidInput where the parts have other metrics or k."""
    first = parts[0]
    for part in parts:
        if (list(part.metrics), list(part.ks)) != (list(first.metrics), list(first.ks)):
            raise InvalidInput(
                f"{first.model} × {first.dataset}: quality is there for other cut-offs than search.k; run `dvc repro`"
            )
    rows = [[i for i, c in enumerate(part.configurations) if c.codec in codecs] for part in parts]
    pairs = list(zip(parts, rows, strict=True))
    return replace(
        first,
        configurations=[part.configurations[i] for part, some in pairs for i in some],
        value=np.concatenate([part.value[some] for part, some in pairs]),
        expected_recall=np.concatenate([part.expected_recall[some] for part, some in pairs]),
        tie_cut=np.concatenate([part.tie_cut[some] for part, some in pairs]),
        undertrained=frozenset().union(*(part.undertrained for part in parts)),
    )
