"""What a stage needs to take rows over from the leaf that it is about to replace."""

from __future__ import annotations

from functools import cache
from typing import Any

from pipeline import code
from pipeline.stage import Run
from store.layout import CHECKOUT
from store.leaf.growth import Earlier
from store.leaf.schema import Schema

OF_VALUES = (
    "store.codecs",
    "store.encoders",
    "store.leaf.digest",
    "store.numerics",
    "store.search.summation",
    "store.search.vectors",
)
"""Where values are computed. A codec also knows how its codes are searched and stored, on which no code depends."""


def earlier(run: Run[Any], schema: Schema) -> Earlier:
    """The leaf of an earlier run at the place of the one that this run writes."""
    keys = {name: run.keys[name] for name in schema.keys}
    return Earlier.at(run.layout.leaf(schema.artifact, keys), schema)


@cache
def code_digest(module: str) -> str:
    """Digest of the code that computes values: a module and what it imports of `OF_VALUES`."""
    return code.digest(CHECKOUT, module, OF_VALUES)
