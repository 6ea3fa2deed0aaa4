"""E1: embeddings of a cell, L2-normalised, stored in float16; what storing them so costs is recorded."""

from functools import partial
from typing import Annotated, Self

from pydantic import Field as Constraint
from pydantic import model_validator

from analysis.quality.storage import Sample, sample, storage_cost
from pipeline.cells.judgements import read_judgements
from pipeline.embedding.encoding import Encoding
from pipeline.embedding.slabs import Slabs, encode_slab, identity_of
from pipeline.embedding.stored_vectors import stored
from pipeline.executors import open_engine
from pipeline.growth import code_digest, earlier
from pipeline.stage import CELL, MODEL_ENTRY, TEXTS, Run, Section, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.corpora.corpus import DOCUMENTS_FILE, QUERIES_FILE, iter_texts, read_texts
from store.encoders import prepare
from store.encoders.device import CPU, choose_device
from store.leaf import digest
from store.leaf.growth import grow, text_blocks
from store.leaf.unfinished import Unfinished
from store.progress import Progress

STAGE = Stage(
    "embed",
    CELL,
    params=("embed", MODEL_ENTRY),
    reads=(TEXTS, JUDGEMENTS),
    writes=(EMBEDDINGS,),
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
    """Encode queries, then documents a slab at a time.

    Slabs that an earlier run encoded alike are taken over: from the leaf that it committed, or, where it was stopped,
    from what it kept.
    """
    judgements = run.open(JUDGEMENTS)
    folder = run.layout.corpus(run.dataset)
    documents = folder / DOCUMENTS_FILE
    n = judgements.size("document")
    watched = Progress(run.model, n + judgements.size("query"), "texts", "tokens")
    device = CPU if run.model_spec.source != "sentence-transformers" else choose_device()
    encoder = prepare.prepared_encoder(
        run.model_spec,
        label=run.model,
        documents=lambda: read_texts(documents),
        corpus_digest=judgements.attributes["corpus_digest"],
        cache=run.layout.prepared,
        batch_size=run.params.batch_size,
        device=device,
        advance=watched.advance,
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
    k = run.params.storage_k
    before = earlier(run, EMBEDDINGS)
    kept = Unfinished(run.layout, "--".join([STAGE.name, *run.keys.values()]))

    encoding = Encoding(
        encoder,
        run.model,
        recipe,
        slabs,
        lambda slab: next(iter_texts(documents, slab.rows, slab.first)),
        before,
        kept,
        run.advanced,
        watched.take_over,
    )
    elsewhere = Slabs(
        run.layout.root,
        run.model_spec,
        run.model,
        run.dataset,
        judgements.attributes["corpus_digest"],
        run.params.batch_size,
        device,
        identity_of(encoder),
    )
    with watched, open_engine() as engine, run.commit(EMBEDDINGS) as leaf:
        queries = encoding.queries(read_texts(folder / QUERIES_FILE))
        leaf.write("queries", stored(queries, "query", run.model))
        measured = sample(queries, judgements.read("self_row"), read_judgements(judgements), slabs[0].rows)
        origin = digest.of_settings(recipe=recipe, k=k, documents=slabs[0].content, sample=_digest(measured))
        storage = before.attribute("storage", origin)
        if storage is None:
            # These figures need the float32 vectors, also where the float16 ones could be taken over.
            storage = encoding.storage(
                origin, lambda first: storage_cost(measured, first, k) if measured else {}
            )
        grow(
            leaf,
            before,
            "documents",
            (n, encoder.dimension),
            recipe,
            slabs,
            encoding.stored,
            in_order=encoding.through(engine, partial(encode_slab, elsewhere), watched.advance)
            if engine.cuts
            else engine.in_order,
        )
        leaf.made_from["storage"] = [origin]
        leaf.describe(
            **run.keys,
            corpus_digest=judgements.attributes["corpus_digest"],
            encoder=identity | encoding.record(),
            storage=storage,
        )
    kept.remove()
    run.say(
        f"{n} documents ({n - encoding.encoded} of them taken over) and {len(queries)} queries of "
        f"{encoder.dimension} dimensions; storage cost {storage}"
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
