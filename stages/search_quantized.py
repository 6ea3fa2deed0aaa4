"""E6: exhaustive search over the decoded PQ and INT8 codes, by inner product."""

import numpy as np

from stages.exact import Params
from stages.parallel import side_by_side
from stages.stage import CELL, Run, Stage
from stages.stored_codes import StoredCodes, stored_codes
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import QUANTIZED_NEIGHBOURS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.product import PQCodec, undertrained
from store.codecs.scalar import Int8Codec
from store.configuration import Configuration, columns_of
from store.neighbours import Neighbours

STAGE = Stage(
    name="search-quantized",
    per=CELL,
    section="search",
    reads=(EMBEDDINGS, QUANTIZED_CODES, JUDGEMENTS),
    writes=(QUANTIZED_NEIGHBOURS,),
)

CODECS = {PQCodec.name: PQCodec, Int8Codec.name: Int8Codec}


def run(run: Run[Params]) -> None:
    """Score every query against every decoded document."""
    codes, judgements = run.open(QUANTIZED_CODES), run.open(JUDGEMENTS)
    queries = run.open(EMBEDDINGS).read("queries")
    self_row = judgements.read("self_row").astype(np.int64)

    def search(stored: StoredCodes) -> tuple[Configuration, Neighbours]:
        top = stored.codec.search(stored.state, queries, run.params.depth, self_row)
        for first, block in stored.blocks():
            top.update(block, first)
        return stored.configuration(), top.result()

    every = [stored for group in codes.groups() for stored in stored_codes(codes, group, CODECS)]
    found = side_by_side(search, every, "search of decoded codes")
    with run.commit(QUANTIZED_NEIGHBOURS) as leaf:
        for column, values in columns_of([configuration for configuration, _ in found]).items():
            leaf.write(column, values)
        leaf.write("rows", np.stack([neighbours.rows.astype(np.int32) for _, neighbours in found]))
        leaf.write("scores", np.stack([neighbours.scores for _, neighbours in found]))
        flagged = [PQCodec.name] if undertrained(codes.attributes["fit_rows"]) else []
        leaf.describe(**run.keys, undertrained=flagged)
    run.say(f"{len(found)} configurations × {len(queries)} queries")
