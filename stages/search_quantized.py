"""E6: exhaustive search over the decoded PQ and INT8 codes, by inner product."""

from functools import partial

import numpy as np

from pipeline.blocks import top_k
from pipeline.cutoffs import Cutoffs
from pipeline.executors import Engine, open_engine
from pipeline.stage import CELL, Run, Stage
from pipeline.stored_codes import StoredCodes, begin, stored_codes
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import QUANTIZED_NEIGHBOURS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec, undertrained
from store.search.neighbours import Neighbours
from store.threads import side_by_side

STAGE = Stage(
    name="search-quantized",
    per=CELL,
    section="search",
    reads=(EMBEDDINGS, QUANTIZED_CODES, JUDGEMENTS),
    writes=(QUANTIZED_NEIGHBOURS,),
)

Params = Cutoffs

CODECS = {PQCodec.name: PQCodec, Int8Codec.name: Int8Codec}


def run(run: Run[Params]) -> None:
    """Score every query against every decoded document."""
    with open_engine() as engine:
        _run(run, engine)


def _run(run: Run[Params], engine: Engine) -> None:
    embeddings, codes, judgements = run.open(EMBEDDINGS), run.open(QUANTIZED_CODES), run.open(JUDGEMENTS)
    self_row = judgements.read("self_row").astype(np.int64)

    def search(stored: StoredCodes) -> tuple[Configuration, Neighbours]:
        start = partial(begin, stored.codec, stored.state, embeddings)
        return stored.configuration(), top_k(engine, start, stored.rows, run.params.depth, self_row)

    every = [stored for group in codes.groups() for stored in stored_codes(codes, group, CODECS)]
    found = list(side_by_side(search, every, "search of decoded codes", engine.at_once))
    with run.commit(QUANTIZED_NEIGHBOURS) as leaf:
        for column, values in columns_of([configuration for configuration, _ in found]).items():
            leaf.write(column, values)
        leaf.write("rows", np.stack([neighbours.rows.astype(np.int32) for _, neighbours in found]))
        leaf.write("scores", np.stack([neighbours.scores for _, neighbours in found]))
        flagged = [PQCodec.name] if undertrained(codes.attributes["fit_rows"]) else []
        leaf.describe(**run.keys, undertrained=flagged)
    run.say(f"{len(found)} configurations × {len(self_row)} queries")
