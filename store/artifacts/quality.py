"""Per-query quality of searches of a cell: one schema, whichever codecs were searched.

Means and intervals are made from these values later.
"""

from store.artifacts.configuration import CONFIGURATION_FIELDS
from store.leaf.schema import Field, Schema


def quality_schema(artifact: str) -> Schema:
    """A leaf over (configuration, metric, k, query)."""
    return Schema(
        artifact,
        ("model", "dataset"),
        {
            **CONFIGURATION_FIELDS,
            "metric": Field(("metric",), "string", "recall, ndcg, mrr or overlap", coordinate=True),
            "k": Field(("k",), "int32", "cut-off", coordinate=True),
            "value": Field(
                ("configuration", "metric", "k", "query"),
                "float32",
                "value of the metric at k for one query; NaN at cut-offs that were not evaluated",
                rows="query",
                compress=True,
            ),
            "expected_recall": Field(
                ("configuration", "k", "query"),
                "float32",
                "recall expected when ties are broken at random; NaN where distances are not Hamming",
                rows="query",
                compress=True,
            ),
            "tie_cut": Field(
                ("configuration", "k", "query"),
                "bool",
                "whether rank k cuts through a group of tied documents; false where distances are not Hamming",
                rows="query",
                compress=True,
            ),
        },
        {"model": str, "dataset": str, "undertrained": list},
    )


QUALITY = quality_schema("quality")
FURTHER_QUALITY = quality_schema("further_quality")
