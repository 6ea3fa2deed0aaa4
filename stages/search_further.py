"""Searches beyond the core: the further codecs, and asymmetric search of binary codes."""

from pydantic import field_validator

from pipeline.cells.codes import stored_codes
from pipeline.cells.search import ASYMMETRIC, search, search_of, undertrained_among
from pipeline.cells.settings import distinct
from pipeline.stage import CELL, CUTOFFS, Run, Section, Stage
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.further_codes import FURTHER_CODES
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import FURTHER_NEIGHBOURS

STAGE = Stage(
    "search-further",
    CELL,
    params=("search_further", CUTOFFS),
    reads=(EMBEDDINGS, JUDGEMENTS, BINARY_CODES, FURTHER_CODES),
    writes=(FURTHER_NEIGHBOURS,),
)


class Params(Section):
    """``asymmetric`` are the binary codecs whose documents also meet uncompressed queries."""

    asymmetric: tuple[str, ...]

    @field_validator("asymmetric")
    @classmethod
    def _binary(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        every = {**BINARY_CODES.codecs, **FURTHER_CODES.codecs}
        known = sorted(key for key, codec in every.items() if hasattr(codec, "project"))
        for codec in codecs:
            if codec not in known:
                raise ValueError(f"{codec!r} is not a binary codec: choose among {', '.join(known)}")
        return distinct(codecs)


def run(run: Run[Params]) -> None:
    """Search the further codes as their codecs do, and those of binary codecs asymmetrically."""
    embeddings = run.open(EMBEDDINGS)
    core = list(stored_codes(run.open(BINARY_CODES), BINARY_CODES))
    further = list(stored_codes(run.open(FURTHER_CODES), FURTHER_CODES))
    searches = [
        *(search_of(one, embeddings) for one in further),
        *(
            search_of(one, embeddings, ASYMMETRIC)
            for one in [*core, *further]
            if one.key in run.params.asymmetric
        ),
    ]
    search(run, FURTHER_NEIGHBOURS, searches, run.cutoffs, undertrained_among(further))
