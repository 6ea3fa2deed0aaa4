"""The cube: every figure of a study over (model, dataset, codec, bits, metric, k), NaN where a study has none."""

from store.leaf.schema import Field, Schema

_AXES = ("model", "dataset", "codec", "bits", "metric", "k")


def _value(description: str, units: str = "1") -> Field:
    return Field(_AXES, "float64", description, units=units, compress=True)


RESULTS = Schema(
    artifact="results",
    keys=(),
    fields={
        "model": Field(("model",), "string", "label of the model", coordinate=True),
        "dataset": Field(("dataset",), "string", "label of the dataset", coordinate=True),
        "codec": Field(("codec",), "string", "compressed representation", coordinate=True),
        "bits": Field(("bits",), "int32", "8 × bytes_per_vector", units="bit", coordinate=True),
        "metric": Field(("metric",), "string", "recall, ndcg, mrr or overlap", coordinate=True),
        "k": Field(("k",), "int32", "cut-off", coordinate=True),
        "value": _value("mean over queries of the mean over seeds"),
        "ci_low": _value("lower end of the interval over queries"),
        "ci_high": _value("upper end of the interval over queries"),
        "seed_sd": _value("standard deviation over seeds of the mean over queries"),
        "expected_recall": _value("recall expected when ties are broken at random"),
        "tie_share": _value("share of queries and seeds for which rank k cuts a group of tied documents"),
        "undertrained": Field(
            ("model", "dataset", "codec"),
            "bool",
            "whether the codec was fitted on too few documents of the cell",
        ),
        "missing": Field(
            ("model", "dataset"),
            "string",
            "artifacts of the cell that were not there; the array is absent where all were",
            optional=True,
        ),
        "n_queries": Field(("model", "dataset"), "int32", "queries the means are taken over"),
        "n_seeds": Field(
            ("codec", "bits"), "int32", "seeds the means are taken over; 0 where the pair does not occur"
        ),
    },
    attributes={"study": str, "confidence": float, "draws": int, "seed": int},
)
