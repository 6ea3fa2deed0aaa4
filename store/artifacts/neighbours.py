"""E4–E6: what each search found. Ranks are exact: better first, ties to the smaller row.

Neighbours are most of a study's bytes and the same on every machine, so they are computed where they are wanted.
"""

from store.artifacts.configuration import CONFIGURATION_FIELDS
from store.leaf.schema import Field, Schema

_ROWS = Field(
    ("configuration", "query", "rank"),
    "int32",
    "row of the document at each rank",
    rows="query",
    split=("configuration",),
    compress=True,
)
_SCORES = Field(
    ("configuration", "query", "rank"),
    "float64",
    "inner product at each rank",
    rows="query",
    split=("configuration",),
)
_ATTRIBUTES = {"model": str, "dataset": str}

EXACT_NEIGHBOURS = Schema(
    "exact_neighbours",
    ("model", "dataset"),
    {**CONFIGURATION_FIELDS, "rows": _ROWS, "scores": _SCORES},
    _ATTRIBUTES,
    kept=False,
)

QUANTIZED_NEIGHBOURS = Schema(
    "quantized_neighbours",
    ("model", "dataset"),
    {**CONFIGURATION_FIELDS, "rows": _ROWS, "scores": _SCORES},
    # Codecs that were fitted on too few points; every figure made from them carries the flag.
    {**_ATTRIBUTES, "undertrained": list},
    kept=False,
)

BINARY_NEIGHBOURS = Schema(
    "binary_neighbours",
    ("model", "dataset"),
    {
        **CONFIGURATION_FIELDS,
        "rows": _ROWS,
        "distances": Field(
            ("configuration", "query", "rank"),
            "int32",
            "Hamming distance at each rank",
            units="bit",
            rows="query",
            split=("configuration",),
            compress=True,
        ),
        "k": Field(("k",), "int32", "cut-offs at which ties are counted", coordinate=True),
        "closer": Field(
            ("configuration", "query", "k"),
            "int32",
            "documents strictly closer than the one at rank k",
            rows="query",
            split=("configuration",),
            compress=True,
        ),
        "tied": Field(
            ("configuration", "query", "k"),
            "int32",
            "documents exactly as far as the one at rank k",
            rows="query",
            split=("configuration",),
            compress=True,
        ),
        "judged_distance": Field(
            ("configuration", "judgement"),
            "int32",
            "Hamming distance of each judged pair, in the order of the judgements",
            units="bit",
        ),
    },
    _ATTRIBUTES,
    kept=False,
)
