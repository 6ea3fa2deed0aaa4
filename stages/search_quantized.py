"""E6: exhaustive search over the decoded PQ and INT8 codes, by inner product."""

import numpy as np

from stages.exact import Params
from stages.parallel import side_by_side
from stages.stage import CELL, Run, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import QUANTIZED_NEIGHBOURS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.base import Decodable
from store.codecs.product import PQCodec, undertrained
from store.codecs.scalar import Int8Codec
from store.configuration import Configuration, columns_of
from store.neighbours import Neighbours
from store.search import InnerProductTopK

STAGE = Stage(
    name="search-quantized",
    per=CELL,
    section="search",
    reads=(EMBEDDINGS, QUANTIZED_CODES, JUDGEMENTS),
    writes=(QUANTIZED_NEIGHBOURS,),
)

STATE = ("codebooks", "minimum", "step")
"""Names under which codecs keep what they fitted."""


def run(run: Run[Params]) -> None:
    """Score every query against every decoded document."""
    codes, judgements = run.open(QUANTIZED_CODES), run.open(JUDGEMENTS)
    queries = run.open(EMBEDDINGS).read("queries")
    self_row = judgements.read("self_row").astype(np.int64)

    def search(setting: tuple[str, int, int]) -> tuple[Configuration, Neighbours]:
        group, index, seed = setting
        name = codes.group_attributes(group)["codec"]
        codec = _codec(name, codes.array(f"{group}/documents").shape[-1], seed)
        state = {key: codes.read(f"{group}/{key}", index) for key in STATE if f"{group}/{key}" in codes.paths}
        top = InnerProductTopK(queries, run.params.depth, self_row)
        for first, block in codes.blocks(f"{group}/documents", index):
            top.update(codec.decode(state, block), first)
        size = codec.bytes_per_vector(queries.shape[1])
        configuration = Configuration(codec.name, codec.variant, codec.scoring, 8 * size, size, seed=seed)
        return configuration, top.result()

    settings = [
        (group, index, seed)
        for group in codes.groups()
        for index, seed in enumerate(codes.read(f"{group}/seed").tolist())
    ]
    found = side_by_side(search, settings, "search of decoded codes")
    with run.commit(QUANTIZED_NEIGHBOURS) as leaf:
        for column, values in columns_of([configuration for configuration, _ in found]).items():
            leaf.write(column, values)
        leaf.write("rows", np.stack([neighbours.rows.astype(np.int32) for _, neighbours in found]))
        leaf.write("scores", np.stack([neighbours.scores for _, neighbours in found]))
        flagged = [PQCodec.name] if undertrained(codes.attributes["fit_rows"]) else []
        leaf.describe(**run.keys, undertrained=flagged)
    run.say(f"{len(found)} configurations × {len(queries)} queries")


def _codec(name: str, size: int, seed: int) -> Decodable:
    """The codec that decodes a stored group; what decoding needs is in its state, not in its settings."""
    return PQCodec(size, seed, 1) if name == PQCodec.name else Int8Codec()
