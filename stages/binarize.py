"""E2: Phase-1 codes of a cell's documents and queries, one code of the longest length per seed."""

from pipeline.cells.encode import encode
from pipeline.cells.settings import Encoding
from pipeline.stage import CELL, Run, Stage
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS

STAGE = Stage("binarize", CELL, params=("binarize",), reads=(EMBEDDINGS,), writes=(BINARY_CODES,))


class Params(Encoding):
    """Phase 1 has nothing to fit: its projections follow from their seeds."""

    CODECS = BINARY_CODES.codecs


def run(run: Run[Params]) -> None:
    """Encode every vector once per seed; shorter codes are prefixes of what is stored."""
    encode(run, BINARY_CODES)
