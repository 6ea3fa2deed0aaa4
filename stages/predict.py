"""X2: what the closed form expects of the searches of a cell's Phase-1 codes, from its vectors alone."""

import numpy as np

from analysis.theory.cell import METRICS, expected_quality
from pipeline.cells.cutoffs import Cutoffs
from pipeline.cells.judgements import read_judgements
from pipeline.stage import CELL, Run, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.predicted_quality import PREDICTED_QUALITY

STAGE = Stage(
    "predict",
    CELL,
    params=("search", "binarize", "rescore"),
    reads=(EMBEDDINGS, JUDGEMENTS),
    writes=(PREDICTED_QUALITY,),
)

Params = Cutoffs


def run(run: Run[Cutoffs]) -> None:
    """Predict every length at every cut-off, and re-scoring by float32 at its own."""
    embeddings, judgements = run.open(EMBEDDINGS), run.open(JUDGEMENTS)
    bits = sorted({codec.bits for group in run.values["binarize"].groups() for codec in group.codecs})
    rescore = run.values["rescore"]
    value = expected_quality(
        embeddings.read("documents"),
        embeddings.read("queries"),
        read_judgements(judgements),
        judgements.read("self_row").astype(np.int64),
        bits=bits,
        k=run.params.k,
        rescored_k=rescore.k,
        oversample=rescore.oversample,
    )
    with run.commit(PREDICTED_QUALITY) as leaf:
        leaf.write("metric", list(METRICS))
        leaf.write("bits", np.array(bits, np.int32))
        leaf.write("oversample", np.array([0, *rescore.oversample], np.int32))
        leaf.write("k", np.array(run.params.k, np.int32))
        leaf.write("value", value)
        leaf.describe(**run.keys)
    run.say(f"{len(bits)} lengths, {np.isfinite(value).sum()} figures")
