"""E5: Hamming search with every code length and seed, with what is needed to judge its ties."""

from pipeline.cells.codes import stored_codes
from pipeline.cells.cutoffs import Cutoffs
from pipeline.cells.search import search, search_of, undertrained_among
from pipeline.stage import CELL, Run, Stage
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS

STAGE = Stage(
    "search-binary",
    CELL,
    params=("search",),
    reads=(EMBEDDINGS, BINARY_CODES, JUDGEMENTS),
    writes=(BINARY_NEIGHBOURS,),
)

Params = Cutoffs


def run(run: Run[Cutoffs]) -> None:
    """Search with every prefix of the stored codes."""
    embeddings, codes = run.open(EMBEDDINGS), list(stored_codes(run.open(BINARY_CODES), BINARY_CODES))
    searches = [search_of(one, embeddings) for one in codes]
    search(run, BINARY_NEIGHBOURS, searches, run.params.k, undertrained_among(codes))
