"""The arrays that every artifact of fitted codecs has: codes, seeds, and what each codec learned."""

from collections.abc import Mapping
from dataclasses import replace

from store.leaf.schema import Field

Declared = Mapping[str, Mapping[str, Field]]


def code_fields(states: Declared) -> dict[str, Field]:
    """Fields of a leaf with one group for each codec and its settings, for several seeds at once.

    states: the ``STATE`` of each codec by the codec's key. A group is named after the key, alone or followed by a
    dash and whatever tells its settings: two codecs may use one name for arrays of different dimensions.
    """
    fields = {
        "*/documents": Field(
            ("seed", "document", "byte"), "uint8", "document codes", rows="document", split=("seed",)
        ),
        "*/seed": Field(("seed",), "int32", "seed of the fit, -1 where nothing is drawn", coordinate=True),
    }
    # Longer keys first, or `sign-*` would be asked before `sign-mean-*`.
    for key in sorted(states, key=len, reverse=True):
        for name, declared in states[key].items():
            stacked = replace(declared, dims=("seed", *declared.dims), split=("seed",), optional=True)
            fields |= {f"{key}/{name}": stacked, f"{key}-*/{name}": stacked}
    return fields
