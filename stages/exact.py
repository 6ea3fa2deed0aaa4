"""E4: exact float neighbours, the truth for Overlap@k and the upper end of every curve."""

from functools import partial

from pipeline.cells.blocks import Rows
from pipeline.cells.cutoffs import Cutoffs
from pipeline.cells.search import Search, search
from pipeline.stage import CELL, Run, Stage
from store.artifacts.configuration import Configuration
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.codecs.floats import Float32Codec
from store.leaf.reading import Leaf
from store.search.inner_product import InnerProductTopK

STAGE = Stage("exact", CELL, params=("search",), reads=(EMBEDDINGS, JUDGEMENTS), writes=(EXACT_NEIGHBOURS,))

Params = Cutoffs


def run(run: Run[Cutoffs]) -> None:
    """Search every query among all documents by inner product of the stored vectors."""
    embeddings, codec = run.open(EMBEDDINGS), Float32Codec()
    size = codec.bytes_per_vector(embeddings.size("dimension"))
    configuration = Configuration(codec.name, codec.variant, codec.scoring, 8 * size, size)
    exact = Search(configuration, Rows(embeddings, "documents"), partial(_start, embeddings))
    search(run, EXACT_NEIGHBOURS, [exact], run.params.k)


def _start(embeddings: Leaf, k: int) -> InnerProductTopK:
    return InnerProductTopK(embeddings.read("queries"), k)
