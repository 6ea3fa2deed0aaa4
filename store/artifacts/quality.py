"""Per-query quality of every configuration of a cell; means and intervals are made from these later."""

from store.artifacts.configuration import CONFIGURATION_FIELDS
from store.leaf.schema import Field, Schema

QUALITY = Schema(
    artifact="quality",
    keys=("model", "dataset"),
    fields={
        **CONFIGURATION_FIELDS,
        "metric": Field(("metric",), "string", "recall, ndcg, mrr or overlap", coordinate=True),
        "k": Field(("k",), "int32", "cut-off", coordinate=True),
        "value": Field(
            ("configuration", "metric", "k", "query"),
            "float32",
            "value of the metric at k for one query",
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
    attributes={"model": str, "dataset": str, "undertrained": list},
)
