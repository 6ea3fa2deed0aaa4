"""Who should be found: ids, judgements and the digest of the corpus they belong to."""

from store.leaf.schema import Field, Schema

JUDGEMENTS = Schema(
    artifact="judgements",
    keys=("dataset",),
    fields={
        "document_id": Field(
            ("document",), "string", "id of a document, in row order", compress=True, coordinate=True
        ),
        "query_id": Field(
            ("query",), "string", "id of a query, in row order", compress=True, coordinate=True
        ),
        "judged_query": Field(("judgement",), "int32", "row of the judged query"),
        "judged_document": Field(("judgement",), "int32", "row of the judged document"),
        "relevance": Field(("judgement",), "int32", "grade given by the judge; above 0 is relevant"),
        "training_query_id": Field(
            ("training_query",),
            "string",
            "id of a query set apart for adapters, which no judgement here names",
            compress=True,
            coordinate=True,
            optional=True,
        ),
        "self_row": Field(("query",), "int32", "row of the document that is the query itself, -1 for none"),
    },
    attributes={
        "dataset": str,
        "source": str,
        "corpus_digest": str,
        "exclude_self": bool,
        "counts": dict,
    },
)
