"""E2: binary codes of a cell. One code of the longest length per seed serves every shorter one as its prefix."""

from store.leaf.schema import Field, Schema

BINARY_CODES = Schema(
    artifact="binary_codes",
    keys=("model", "dataset"),
    fields={
        "*/documents": Field(
            ("seed", "document", "byte"),
            "uint8",
            "document codes, packed most significant bit first",
            rows="document",
            split=("seed",),
        ),
        "*/queries": Field(
            ("seed", "query", "byte"),
            "uint8",
            "query codes, packed most significant bit first",
            rows="query",
            split=("seed",),
        ),
        "*/seed": Field(("seed",), "int32", "seed of the projection", coordinate=True),
    },
    attributes={"model": str, "dataset": str},
)
