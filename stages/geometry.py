"""E7: the geometry of a cell's documents and queries."""

import numpy as np

from analysis.geometry.cell import GeometrySettings, measure
from pipeline.stage import CELL, Run, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.geometry import GEOMETRY

STAGE = Stage("geometry", CELL, params=("geometry",), reads=(EMBEDDINGS,), writes=(GEOMETRY,))

Params = GeometrySettings


def run(run: Run[Params]) -> None:
    """Estimate every measure, with its interval, on the common sample size."""
    embeddings = run.open(EMBEDDINGS)
    estimates = measure(embeddings.read("documents"), embeddings.read("queries"), run.params)
    with run.commit(GEOMETRY) as leaf:
        leaf.write("measure", list(estimates))
        for name in ("value", "ci_low", "ci_high"):
            leaf.write(
                name, np.array([getattr(estimate, name) for estimate in estimates.values()], np.float64)
            )
        leaf.write("sample_size", np.array([e.sample_size for e in estimates.values()], np.int32))
        leaf.describe(**run.keys, confidence=run.params.confidence)
    cosine = estimates["documents_mean_cosine"]
    run.say(
        f"{len(estimates)} measures; mean cosine {cosine.value:.3f} [{cosine.ci_low:.3f}, {cosine.ci_high:.3f}]"
    )
