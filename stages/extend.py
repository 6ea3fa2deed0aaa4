"""Every codec beyond the core: codes of a cell's documents, with the state fitted on a seeded sample of them."""

from pipeline.cells.encode import encode
from pipeline.cells.settings import Fitting
from pipeline.stage import CELL, Run, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.further_codes import FURTHER_CODES

STAGE = Stage("extend", CELL, params=("extend",), reads=(EMBEDDINGS,), writes=(FURTHER_CODES,))


class Params(Fitting):
    """All codecs of the registry that the core does not have."""

    CODECS = FURTHER_CODES.codecs


def run(run: Run[Params]) -> None:
    """Fit each codec on the sample, then encode every document from what was fitted alone."""
    encode(run, FURTHER_CODES)
