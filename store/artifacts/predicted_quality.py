"""X2: what the closed form of docs/theory.md expects of Phase-1 codes of a cell, from its vectors alone."""

from store.leaf.schema import Field, Schema

PREDICTED_QUALITY = Schema(
    artifact="predicted_quality",
    keys=("model", "dataset"),
    fields={
        "metric": Field(("metric",), "string", "recall or overlap", coordinate=True),
        "bits": Field(("bits",), "int32", "length of the codes", units="bit", coordinate=True),
        "oversample": Field(
            ("oversample",),
            "int32",
            "results re-ranked by float32, as a multiple of k; 0 for none",
            coordinate=True,
        ),
        "k": Field(("k",), "int32", "cut-off", coordinate=True),
        "value": Field(
            ("metric", "bits", "oversample", "k"),
            "float64",
            "expected mean over queries, six significant digits; NaN where nothing is predicted",
        ),
    },
    attributes={"model": str, "dataset": str},
)
