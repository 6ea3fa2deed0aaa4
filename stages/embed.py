"""E1: embeddings of a cell, L2-normalised, stored in float16; what storing them so costs is recorded."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint

from analysis.storage import StorageCost
from stages.judged import read_judgements
from stages.stage import CELL, Run, Section, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.corpora.corpus import DOCUMENTS_FILE, QUERIES_FILE, iter_texts, read_texts
from store.encoders.prepare import prepared_encoder

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
    """``storage_k`` is the cut-off at which the cost of float16 is recorded."""

    batch_size: Annotated[int, Constraint(ge=1)]
    storage_k: Annotated[int, Constraint(ge=1)]


def run(run: Run[Params]) -> None:
    """Encode queries, then documents a shard at a time."""
    judgements = run.open(JUDGEMENTS)
    folder = run.layout.corpus(run.dataset)
    documents = folder / DOCUMENTS_FILE
    encoder = prepared_encoder(
        run.model_spec,
        label=run.model,
        documents=lambda: read_texts(documents),
        corpus_digest=judgements.attributes["corpus_digest"],
        cache=run.layout.prepared,
        batch_size=run.params.batch_size,
    )
    n = judgements.size("document")
    with run.commit(EMBEDDINGS) as leaf:
        queries = encoder.encode_queries(read_texts(folder / QUERIES_FILE))
        leaf.write("queries", queries.astype(np.float16))
        stored = leaf.create("documents", (n, encoder.dimension))
        cost = StorageCost(queries, judgements.read("self_row"), run.params.storage_k)
        slab = (stored.shards or stored.chunks)[0]

        def encoded() -> Iterator[NDArray[np.float16]]:
            first = 0
            for texts in iter_texts(documents, slab):
                vectors = encoder.encode_documents(texts)
                cost.update(vectors, first)
                first += len(vectors)
                yield vectors.astype(np.float16)

        leaf.fill(stored, encoded())
        storage = cost.figures(read_judgements(judgements))
        leaf.describe(
            **run.keys,
            corpus_digest=judgements.attributes["corpus_digest"],
            encoder=dict(sorted(encoder.identity.items())),
            storage=storage,
        )
    run.say(
        f"{n} documents and {len(queries)} queries of {encoder.dimension} dimensions; storage cost {storage}"
    )
