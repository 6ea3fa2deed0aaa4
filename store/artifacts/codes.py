"""Codes of a cell with the fitted state that encodes and decodes them: one schema, whichever codecs there are.

Several artifacts follow it, so that a codec that is added computes none of the earlier ones again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from store.codecs.settings import Codecs
from store.leaf.schema import Field, Schema


@dataclass(frozen=True)
class CodesSchema(Schema):
    """An artifact of codes; ``codecs`` are the classes of those it may hold, by key."""

    codecs: Codecs = field(default_factory=dict)


def codes_schema(artifact: str, codecs: Codecs, *, queries: bool = False, kept: bool = True) -> CodesSchema:
    """A leaf with one group for each codec and length, for several seeds at once.

    A group is named after the codec's key, alone or followed by a dash and the length: two codecs may use one name for
    arrays of different dimensions. ``queries`` are encoded beside the documents.
    """
    fields = {"*/documents": _codes("document")}
    if queries:
        fields["*/queries"] = _codes("query")
    fields["*/seed"] = Field(
        ("seed",), "int32", "seed of the codec's random draw, -1 where nothing is drawn", coordinate=True
    )
    return CodesSchema(
        artifact=artifact,
        keys=("model", "dataset"),
        fields={**fields, **_states({key: codec.STATE for key, codec in codecs.items()})},
        # How many documents codecs were fitted on, 0 where there is nothing to fit.
        attributes={"model": str, "dataset": str, "fit_rows": int},
        kept=kept,
        codecs=codecs,
    )


def _codes(rows: str) -> Field:
    return Field(
        ("seed", rows, "byte"),
        "uint8",
        f"{rows} codes; bits are packed most significant first",
        rows=rows,
        split=("seed",),
    )


def _states(states: Mapping[str, Mapping[str, Field]]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    # Longer keys first, or `sign-*` would be asked before `sign-mean-*`.
    for key in sorted(states, key=len, reverse=True):
        for name, declared in states[key].items():
            stacked = replace(declared, dims=("seed", *declared.dims), split=("seed",), optional=True)
            fields |= {f"{key}/{name}": stacked, f"{key}-*/{name}": stacked}
    return fields
