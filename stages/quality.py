"""Per-query quality of every configuration of the core, and what its ties do to Recall."""

from pipeline.cells.cutoffs import Cutoffs
from pipeline.cells.quality import evaluate
from pipeline.stage import CELL, Run, Stage
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS, EXACT_NEIGHBOURS, QUANTIZED_NEIGHBOURS
from store.artifacts.quality import QUALITY

SOURCES = (EXACT_NEIGHBOURS, BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS)

STAGE = Stage("quality", CELL, params=("search",), reads=(JUDGEMENTS, *SOURCES), writes=(QUALITY,))

Params = Cutoffs


def run(run: Run[Cutoffs]) -> None:
    """Score what every search found against the judgements and the exact neighbours."""
    evaluate(run, QUALITY, SOURCES, run.params.k)
