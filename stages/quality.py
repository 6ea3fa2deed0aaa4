"""Per-query quality of every configuration of a cell, and what its ties do to Recall."""

import numpy as np

from analysis.quality.per_query import METRICS, per_query
from analysis.quality.ties import expected_recall, tied_share
from pipeline.cutoffs import Cutoffs
from pipeline.judged import read_judgements
from pipeline.stage import CELL, Run, Stage
from store.artifacts.configuration import columns_of, read_configurations
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS, EXACT_NEIGHBOURS, QUANTIZED_NEIGHBOURS
from store.artifacts.quality import QUALITY

STAGE = Stage(
    name="quality",
    per=CELL,
    section="search",
    reads=(JUDGEMENTS, EXACT_NEIGHBOURS, BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS),
    writes=(QUALITY,),
)

Params = Cutoffs


def run(run: Run[Params]) -> None:
    """Score what every search found against the judgements and the exact neighbours."""
    judgements = read_judgements(run.open(JUDGEMENTS))
    ks = list(run.params.k)
    exact_rows = run.open(EXACT_NEIGHBOURS).read("rows", 0)

    found = [run.open(schema) for schema in (EXACT_NEIGHBOURS, BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS)]
    configurations = [configuration for leaf in found for configuration in read_configurations(leaf)]
    shape = (len(configurations), len(ks), judgements.n_queries)
    value = np.empty((len(configurations), len(METRICS), len(ks), judgements.n_queries), np.float32)
    expected, cut = np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
    position = 0
    for leaf in found:
        for index in range(leaf.size("configuration")):
            rows = leaf.read("rows", index)
            value[position] = per_query(rows, exact_rows, judgements, ks)
            if leaf.schema is BINARY_NEIGHBOURS:
                ties = (leaf.read("closer", index), leaf.read("tied", index))
                kth = leaf.read("distances", index)[:, np.array(ks) - 1]
                judged = leaf.read("judged_distance", index)
                expected[position] = expected_recall(judgements, judged, kth, *ties, ks)
                cut[position] = tied_share(*ties, ks)
            position += 1

    with run.commit(QUALITY) as writer:
        for name, column in columns_of(configurations).items():
            writer.write(name, column)
        writer.write("metric", list(METRICS))
        writer.write("k", np.array(ks, np.int32))
        writer.write("value", value)
        writer.write("expected_recall", expected)
        writer.write("tie_cut", cut)
        writer.describe(**run.keys, undertrained=list(found[2].attributes["undertrained"]))
    run.say(f"{len(configurations)} configurations × {judgements.n_queries} queries")
