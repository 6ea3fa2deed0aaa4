"""E3: quantised codes of a cell and the fitted state that encodes and decodes them."""

from store.schema import Field, Schema

QUANTIZED_CODES = Schema(
    artifact="quantized_codes",
    keys=("model", "dataset"),
    fields={
        "*/documents": Field(
            ("seed", "document", "byte"), "uint8", "document codes", rows="document", split=("seed",)
        ),
        "*/seed": Field(("seed",), "int32", "seed of the fit, -1 where nothing is drawn", coordinate=True),
        "*/codebooks": Field(
            ("seed", "subquantizer", "centroid", "component"),
            "float16",
            "centroids of each sub-quantiser",
            split=("seed",),
            compress=True,
            optional=True,
        ),
        "*/minimum": Field(
            ("seed", "dimension"),
            "float64",
            "lower end of each dimension's range",
            split=("seed",),
            optional=True,
        ),
        "*/step": Field(
            ("seed", "dimension"),
            "float64",
            "width of one level of each dimension",
            split=("seed",),
            optional=True,
        ),
    },
    attributes={"model": str, "dataset": str, "fit_rows": int},
)
