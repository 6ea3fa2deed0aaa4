"""Evaluating a cell: per-query quality of what its searches found, and what ties do to Recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.quality.per_query import METRICS, per_query
from analysis.quality.ties import expected_recall, tied_share
from pipeline.cells.judgements import read_judgements
from pipeline.stage import Run
from store.artifacts.configuration import columns_of, read_configurations
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.leaf.schema import Schema


def evaluate(run: Run[Any], schema: Schema, sources: Sequence[Schema], ks: Sequence[int]) -> None:
    """Commit the quality of every configuration of ``sources``, which are neighbours, at the cut-offs ``ks``.

    What was re-scored is evaluated at the one cut-off that it was re-scored for.
    """
    judgements = read_judgements(run.open(JUDGEMENTS))
    exact_rows = run.open(EXACT_NEIGHBOURS).read("rows", 0)
    cutoffs = list(ks)
    leaves = [run.open(source) for source in sources]
    found = [(leaf, *one) for leaf in leaves for one in enumerate(read_configurations(leaf))]
    shape = (len(found), len(cutoffs), judgements.n_queries)
    value = np.full((shape[0], len(METRICS), *shape[1:]), np.nan, np.float32)
    expected, cut = np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
    for position, (leaf, index, configuration) in enumerate(found):
        at = [leaf.size("rank")] if configuration.rescore else cutoffs
        value[position][:, [cutoffs.index(k) for k in at]] = per_query(
            leaf.read("rows", index), exact_rows, judgements, at
        )
        if configuration.scoring == "hamming" and not configuration.rescore:
            ties = (leaf.read("closer", index), leaf.read("tied", index))
            kth = leaf.read("scores", index).astype(np.int32)[:, np.array(cutoffs) - 1]
            judged = leaf.read("judged_distance", index)
            expected[position] = expected_recall(judgements, judged, kth, *ties, cutoffs)
            cut[position] = tied_share(*ties, cutoffs)

    with run.commit(schema) as writer:
        for name, column in columns_of([configuration for *_, configuration in found]).items():
            writer.write(name, column)
        writer.write("metric", list(METRICS))
        writer.write("k", np.array(cutoffs, np.int32))
        writer.write("value", value)
        writer.write("expected_recall", expected)
        writer.write("tie_cut", cut)
        flagged = {name for leaf in leaves for name in leaf.attributes["undertrained"]}
        writer.describe(**run.keys, undertrained=sorted(flagged))
    run.say(f"{len(found)} configurations × {judgements.n_queries} queries")
