"""E1: embeddings of a cell, L2-normalised, stored in float16; what storing them so costs is recorded."""

from functools import partial
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint
from pydantic import model_validator

from analysis.storage import Sample, sample, storage_cost
from stages.engine import open_engine
from stages.growth import code_digest, earlier
from stages.judged import read_judgements
from stages.slabs import Slabs, encode_slab, identity_of
from stages.stage import CELL, Run, Section, Stage
from store import digest
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.corpora.corpus import DOCUMENTS_FILE, QUERIES_FILE, iter_texts, read_texts
from store.encoders import prepare
from store.growth import Block, grow, text_blocks

STAGE = Stage(
    name="embed",
    per=CELL,
    section="embed",
    reads=(JUDGEMENTS,),
    writes=(EMBEDDINGS,),
    reads_texts=True,
    needs_model=True,
)


class Params(Section):
    """``slab`` documents are encoded together; ``storage_k`` is the cut-off of the recorded cost of float16."""

    batch_size: Annotated[int, Constraint(ge=1)]
    slab: Annotated[int, Constraint(ge=1)]
    storage_k: Annotated[int, Constraint(ge=1)]

    @model_validator(mode="after")
    def _slab_holds_k(self) -> Self:
        # One more than k, since a query may leave a document out.
        if self.slab <= self.storage_k:
            raise ValueError(f"slab is {self.slab}, expected more than storage_k, {self.storage_k}")
        return self


def run(run: Run[Params]) -> None:
    """Encode queries, then documents a slab at a time; slabs that an earlier run encoded alike are taken over."""
    judgements = run.open(JUDGEMENTS)
    folder = run.layout.corpus(run.dataset)
    documents = folder / DOCUMENTS_FILE
    encoder = prepare.prepared_encoder(
        run.model_spec,
        label=run.model,
        documents=lambda: read_texts(documents),
        corpus_digest=judgements.attributes["corpus_digest"],
        cache=run.layout.prepared,
        batch_size=run.params.batch_size,
    )
    identity = dict(sorted(encoder.identity.items()))
    # Texts encoded together share batches, and rounding follows the batch.
    recipe = digest.of_settings(
        code=code_digest(prepare.__name__),
        encoder=identity,
        batch_size=run.params.batch_size,
        slab=run.params.slab,
    )
    slabs = text_blocks(iter_texts(documents, run.params.slab))
    k, n = run.params.storage_k, judgements.size("document")

    def encode(slab: Block) -> NDArray[np.float32]:
        return encoder.encode_documents(next(iter_texts(documents, slab.rows, slab.first)))

    before = earlier(run, EMBEDDINGS)
    with open_engine(run.compute) as engine, run.commit(EMBEDDINGS) as leaf:
        queries = encoder.encode_queries(read_texts(folder / QUERIES_FILE))
        leaf.write("queries", queries.astype(np.float16))
        measured = sample(queries, judgements.read("self_row"), read_judgements(judgements), slabs[0].rows)
        origin = digest.of_settings(recipe=recipe, k=k, documents=slabs[0].content, sample=_digest(measured))
        storage = before.attribute("storage", origin)
        first = None
        if storage is None:
            # These figures need the float32 vectors, also where the float16 ones could be taken over.
            first = encode(slabs[0])
            storage = storage_cost(measured, first, k) if measured else {}

        def stored(slab: Block) -> NDArray[np.float16]:
            vectors = first if slab is slabs[0] and first is not None else encode(slab)
            return vectors.astype(np.float16)

        elsewhere = Slabs(
            run.layout.root,
            run.model_spec,
            run.model,
            run.dataset,
            judgements.attributes["corpus_digest"],
            run.params.batch_size,
            identity_of(encoder),
        )
        made = grow(
            leaf,
            before,
            "documents",
            (n, encoder.dimension),
            recipe,
            slabs,
            partial(encode_slab, elsewhere) if engine.cuts else stored,
            in_order=engine.in_order,
        )
        leaf.made_from["storage"] = [origin]
        leaf.describe(
            **run.keys,
            corpus_digest=judgements.attributes["corpus_digest"],
            encoder=identity,
            storage=storage,
        )
    run.say(
        f"{n} documents ({n - made} of them taken over) and {len(queries)} queries of {encoder.dimension} dimensions; "
        f"storage cost {storage}"
    )


def _digest(measured: Sample | None) -> str:
    if measured is None:
        return ""
    judged = measured.judgements
    return digest.of_arrays(
        {
            "queries": measured.queries,
            "self_row": measured.self_row,
            "judged_query": judged.query,
            "judged_document": judged.document,
            "relevance": judged.relevance,
        }
    )
