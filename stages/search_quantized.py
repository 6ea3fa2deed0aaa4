"""E6: exhaustive search over the decoded PQ and INT8 codes, by inner product."""

from pipeline.cells.codes import stored_codes
from pipeline.cells.cutoffs import Cutoffs
from pipeline.cells.search import search, search_of, undertrained_among
from pipeline.stage import CELL, Run, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import QUANTIZED_NEIGHBOURS
from store.artifacts.quantized_codes import QUANTIZED_CODES

STAGE = Stage(
    "search-quantized",
    CELL,
    params=("search",),
    reads=(EMBEDDINGS, QUANTIZED_CODES, JUDGEMENTS),
    writes=(QUANTIZED_NEIGHBOURS,),
)

Params = Cutoffs


def run(run: Run[Cutoffs]) -> None:
    """Score every query against every decoded document."""
    embeddings, codes = run.open(EMBEDDINGS), list(stored_codes(run.open(QUANTIZED_CODES), QUANTIZED_CODES))
    searches = [search_of(one, embeddings) for one in codes]
    search(run, QUANTIZED_NEIGHBOURS, searches, run.params.k, undertrained_among(codes))
