"""E5: Hamming search with every code length and seed, with what is needed to judge its ties."""

import numpy as np
from numpy.typing import NDArray

from stages.exact import Params
from stages.stage import CELL, Progress, Run, Stage
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS
from store.codecs.binary import Phase1Codec
from store.configuration import Configuration, columns_of
from store.hamming import HammingTopK, hamming_ties, paired_hamming

STAGE = Stage(
    name="search-binary",
    per=CELL,
    section="search",
    reads=(BINARY_CODES, JUDGEMENTS),
    writes=(BINARY_NEIGHBOURS,),
)

BEYOND = np.iinfo(np.int32).max
"""Distance given to a judged pair whose document is left out of the query's search."""


def run(run: Run[Params]) -> None:
    """Search with every prefix of the stored codes; distances of judged pairs tell what ties do to Recall."""
    codes, judgements = run.open(BINARY_CODES), run.open(JUDGEMENTS)
    self_row = judgements.read("self_row").astype(np.int64)
    judged = (judgements.read("judged_query"), judgements.read("judged_document"))
    left_out = self_row[judged[0]] == judged[1]
    seeds = codes.read("phase1/seed").tolist()
    lengths = codes.group_attributes("phase1")["bits"]
    ks = np.array(run.params.k)
    parts: dict[str, list[NDArray[np.int32]]] = {
        name: [] for name in ("rows", "distances", "closer", "tied", "judged_distance")
    }
    configurations = []
    progress = Progress("Hamming search", len(lengths) * len(seeds), "configurations")
    for bits in lengths:
        for index, seed in enumerate(seeds):
            codec = Phase1Codec(bits, seed)
            size = codec.bytes_per_vector(0)
            queries = codes.read("phase1/queries", (index, slice(None), slice(0, size)))
            # Blocks are read once and kept: at one length and seed they are small beside the vectors.
            blocks = [(first, block[:, :size]) for first, block in codes.blocks("phase1/documents", index)]
            search = HammingTopK(queries, run.params.depth, self_row)
            for first, block in blocks:
                search.update(block, first)
            found = search.result()
            distances = found.scores.astype(np.int32)
            closer, tied = hamming_ties(queries, blocks, distances[:, ks - 1], self_row)
            judged_distance = np.where(
                left_out, BEYOND, paired_hamming(queries[judged[0]], blocks, judged[1])
            )
            configurations.append(
                Configuration(codec.name, codec.variant, codec.scoring, bits, size, seed=seed)
            )
            for name, values in zip(
                parts, (found.rows, distances, closer, tied, judged_distance), strict=True
            ):
                parts[name].append(values.astype(np.int32))
            progress.advance(1)
    with run.commit(BINARY_NEIGHBOURS) as leaf:
        for name, column in columns_of(configurations).items():
            leaf.write(name, column)
        for name, stacked in parts.items():
            leaf.write(name, np.stack(stacked))
        leaf.write("k", ks.astype(np.int32))
        leaf.describe(**run.keys)
    run.say(f"{len(configurations)} configurations × {len(self_row)} queries")
