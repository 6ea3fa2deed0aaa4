"""E3: PQ and INT8 codes of a cell's documents, with the state that was fitted on a seeded sample of them."""

from pipeline.cells.encode import encode
from pipeline.cells.settings import Fitting
from pipeline.stage import CELL, Run, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.quantized_codes import QUANTIZED_CODES

STAGE = Stage("quantize", CELL, params=("quantize",), reads=(EMBEDDINGS,), writes=(QUANTIZED_CODES,))


class Params(Fitting):
    """The codecs of the core that are fitted."""

    CODECS = QUANTIZED_CODES.codecs


def run(run: Run[Params]) -> None:
    """Fit each codec on the sample, then encode every document from what was fitted alone."""
    encode(run, QUANTIZED_CODES)
