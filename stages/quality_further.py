"""Per-query quality of the further codecs, of asymmetric search and of re-scoring."""

from pipeline.cells.cutoffs import Cutoffs
from pipeline.cells.quality import evaluate
from pipeline.stage import CELL, Run, Stage
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import EXACT_NEIGHBOURS, FURTHER_NEIGHBOURS, RESCORED_NEIGHBOURS
from store.artifacts.quality import FURTHER_QUALITY

SOURCES = (FURTHER_NEIGHBOURS, RESCORED_NEIGHBOURS)

STAGE = Stage(
    "quality-further",
    CELL,
    params=("search",),
    reads=(JUDGEMENTS, EXACT_NEIGHBOURS, *SOURCES),
    writes=(FURTHER_QUALITY,),
)

Params = Cutoffs


def run(run: Run[Cutoffs]) -> None:
    """Score what every search found against the judgements and the exact neighbours."""
    evaluate(run, FURTHER_QUALITY, SOURCES, run.params.k)
