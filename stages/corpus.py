"""Texts, ids and judgements of a dataset, in a row order that knows nothing of the judgements."""

from typing import Annotated

from pydantic import Field as Constraint

from pipeline.stage import DATASET, DATASET_ENTRY, LOCKED, TEXTS, Run, Section, Stage
from store.artifacts.judgements import JUDGEMENTS
from store.corpora.api_docs import read_api_docs
from store.corpora.beir import data_root, read_beir
from store.leaf.commit import staged_folder

STAGE = Stage(
    "corpus",
    (DATASET,),
    params=("corpus", DATASET_ENTRY),
    reads=(LOCKED,),
    writes=(TEXTS, JUDGEMENTS),
)


class Params(Section):
    """``seed`` is that of the order of rows."""

    seed: Annotated[int, Constraint(ge=0, lt=2**31)]


def run(run: Run[Params]) -> None:
    """Read the dataset from its source and write its texts and judgements."""
    spec = run.dataset_spec
    if spec.source == "beir":
        corpus = read_beir(spec, data_root(run.layout.root), run.params.seed, run.layout.staging)
    else:
        corpus = read_api_docs(spec, run.params.seed)
    with staged_folder(run.layout, run.layout.corpus(run.dataset)) as folder:
        corpus.write_texts(folder)
    with run.commit(JUDGEMENTS) as leaf:
        leaf.write("document_id", corpus.document_ids)
        leaf.write("query_id", corpus.query_ids)
        leaf.write("judged_query", corpus.judgements.query)
        leaf.write("judged_document", corpus.judgements.document)
        leaf.write("relevance", corpus.judgements.relevance)
        leaf.write("self_row", corpus.self_row)
        if corpus.training_ids:
            leaf.write("training_query_id", corpus.training_ids)
        leaf.describe(
            dataset=run.dataset,
            source=spec.source,
            corpus_digest=corpus.digest,
            exclude_self=spec.exclude_self,
            counts=dict(corpus.counts),
        )
    run.say(", ".join(f"{count} {what}" for what, count in corpus.counts.items()))
