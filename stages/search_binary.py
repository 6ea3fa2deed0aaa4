"""E5: Hamming search with every code length and seed, with what is needed to judge its ties."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.blocks import Rows, top_k
from pipeline.cutoffs import Cutoffs
from pipeline.executors import Engine, open_engine
from pipeline.stage import CELL, Run, Stage
from pipeline.ties import tie_counts
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS
from store.codecs.phase1_codec import Phase1Codec
from store.search.hamming import HammingTopK
from store.threads import side_by_side

STAGE = Stage(
    name="search-binary",
    per=CELL,
    section="search",
    reads=(BINARY_CODES, JUDGEMENTS),
    writes=(BINARY_NEIGHBOURS,),
)

Params = Cutoffs

Found = tuple[Configuration, dict[str, NDArray[np.int32]]]


def run(run: Run[Params]) -> None:
    """Search with every prefix of the stored codes; distances of judged pairs tell what ties do to Recall."""
    with open_engine() as engine:
        _run(run, engine)


def _run(run: Run[Params], engine: Engine) -> None:
    codes, judgements = run.open(BINARY_CODES), run.open(JUDGEMENTS)
    self_row = judgements.read("self_row").astype(np.int64)
    ks = np.array(run.params.k)

    def search(setting: tuple[int, int, int]) -> Found:
        bits, index, seed = setting
        codec = Phase1Codec(bits, seed)
        size = codec.bytes_per_vector(0)
        queries = codes.read("phase1/queries", (index, slice(None), slice(0, size)))

        rows = Rows(codes, "phase1/documents", (index,), size)
        found = top_k(engine, partial(HammingTopK, queries), rows, run.params.depth, self_row)
        distances = found.scores.astype(np.int32)
        arrays = {
            "rows": found.rows.astype(np.int32),
            "distances": distances,
            **tie_counts(engine, queries, rows, distances[:, ks - 1], judgements),
        }
        return Configuration(codec.name, codec.variant, codec.scoring, bits, size, seed=seed), arrays

    settings = [
        (bits, index, seed)
        for bits in codes.group_attributes("phase1")["bits"]
        for index, seed in enumerate(codes.read("phase1/seed").tolist())
    ]
    found = list(side_by_side(search, settings, "Hamming search", engine.at_once))
    with run.commit(BINARY_NEIGHBOURS) as leaf:
        for name, column in columns_of([configuration for configuration, _ in found]).items():
            leaf.write(name, column)
        for name in found[0][1]:
            leaf.write(name, np.stack([arrays[name] for _, arrays in found]))
        leaf.write("k", ks.astype(np.int32))
        leaf.describe(**run.keys)
    run.say(f"{len(found)} configurations × {len(self_row)} queries")
