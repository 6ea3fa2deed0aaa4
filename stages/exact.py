"""E4: exact float neighbours, the truth for Overlap@k and the upper end of every curve."""

from functools import partial

import numpy as np

from pipeline.blocks import Rows, top_k
from pipeline.cutoffs import Cutoffs
from pipeline.executors import open_engine
from pipeline.stage import CELL, Run, Stage
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.codecs.floats import Float32Codec
from store.leaf.reading import Leaf
from store.progress import Progress
from store.search.inner_product import InnerProductTopK

STAGE = Stage(
    name="exact", per=CELL, section="search", reads=(EMBEDDINGS, JUDGEMENTS), writes=(EXACT_NEIGHBOURS,)
)


Params = Cutoffs


def run(run: Run[Params]) -> None:
    """Search every query among all documents by inner product of the stored vectors."""
    embeddings, judgements = run.open(EMBEDDINGS), run.open(JUDGEMENTS)
    progress = Progress("exact search", embeddings.size("document"), "documents")
    with open_engine() as engine:
        found = top_k(
            engine,
            partial(_search, embeddings),
            Rows(embeddings, "documents"),
            run.params.depth,
            judgements.read("self_row").astype(np.int64),
            progress.advance,
        )
    codec = Float32Codec()
    size = codec.bytes_per_vector(embeddings.size("dimension"))
    configuration = Configuration(codec.name, codec.variant, codec.scoring, 8 * size, size)
    with run.commit(EXACT_NEIGHBOURS) as leaf:
        for name, column in columns_of([configuration]).items():
            leaf.write(name, column)
        leaf.write("rows", found.rows[np.newaxis].astype(np.int32))
        leaf.write("scores", found.scores[np.newaxis])
        leaf.describe(**run.keys)
    run.say(f"{len(found.rows)} queries × {run.params.depth} neighbours")


def _search(embeddings: Leaf, k: int) -> InnerProductTopK:
    return InnerProductTopK(embeddings.read("queries"), k)
