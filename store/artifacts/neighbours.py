"""What each search found: one schema, whichever codecs were searched. Better first, ties to the smaller row.

Neighbours are most of a study's bytes and the same on every machine, so they are computed where they are wanted.
"""

from store.artifacts.configuration import CONFIGURATION_FIELDS
from store.leaf.schema import Field, Schema


def neighbours_schema(artifact: str, scores: str = "float64") -> Schema:
    """A leaf over (configuration, query, rank).

    Hamming distances are small whole numbers: ``scores`` is int32 where there are no others. What judges their ties is
    there where any search is by Hamming distance, and -1 for the other searches.
    """
    return Schema(
        artifact,
        ("model", "dataset"),
        {
            **CONFIGURATION_FIELDS,
            "rows": _by_query("rank", "int32", "row of the document at each rank", compress=True),
            "scores": _by_query(
                "rank",
                scores,
                "inner product, or Hamming distance in bits, at each rank",
                compress=scores == "int32",
            ),
            "k": Field(("k",), "int32", "cut-offs at which ties are counted", coordinate=True, optional=True),
            "closer": _by_query(
                "k", "int32", "documents strictly closer than the one at rank k", compress=True, optional=True
            ),
            "tied": _by_query(
                "k", "int32", "documents exactly as far as the one at rank k", compress=True, optional=True
            ),
            "judged_distance": Field(
                ("configuration", "judgement"),
                "int32",
                "Hamming distance of each judged pair, in the order of the judgements",
                units="bit",
                optional=True,
            ),
        },
        # Codecs that were fitted on too few points; every figure made from them carries the flag.
        {"model": str, "dataset": str, "undertrained": list},
        kept=False,
    )


def _by_query(
    dimension: str, dtype: str, description: str, *, compress: bool, optional: bool = False
) -> Field:
    return Field(
        ("configuration", "query", dimension),
        dtype,
        description,
        rows="query",
        split=("configuration",),
        compress=compress,
        optional=optional,
    )


EXACT_NEIGHBOURS = neighbours_schema("exact_neighbours")
BINARY_NEIGHBOURS = neighbours_schema("binary_neighbours", "int32")
QUANTIZED_NEIGHBOURS = neighbours_schema("quantized_neighbours")
FURTHER_NEIGHBOURS = neighbours_schema("further_neighbours")
RESCORED_NEIGHBOURS = neighbours_schema("rescored_neighbours")
