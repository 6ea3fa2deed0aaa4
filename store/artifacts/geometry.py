"""E7: the geometry of a cell, every measure with its interval."""

from store.leaf.schema import Field, Schema

GEOMETRY = Schema(
    artifact="geometry",
    keys=("model", "dataset"),
    fields={
        "measure": Field(("measure",), "string", "name of the measure", coordinate=True),
        "value": Field(("measure",), "float64", "estimate", units="of the measure"),
        "ci_low": Field(("measure",), "float64", "lower end of the interval", units="of the measure"),
        "ci_high": Field(("measure",), "float64", "upper end of the interval", units="of the measure"),
        "sample_size": Field(("measure",), "int32", "points or pairs the estimate rests on"),
    },
    attributes={"model": str, "dataset": str, "confidence": float},
)
