"""E1: the vectors of a cell, L2-normalised, as they are stored and as every later stage reads them."""

from store.leaf.schema import Field, Schema

EMBEDDINGS = Schema(
    artifact="embeddings",
    keys=("model", "dataset"),
    fields={
        "documents": Field(("document", "dimension"), "float16", "document vectors", rows="document"),
        "queries": Field(("query", "dimension"), "float16", "query vectors", rows="query"),
    },
    attributes={
        "model": str,
        "dataset": str,
        "corpus_digest": str,
        "encoder": dict,
        "storage": dict,
    },
)
