"""What a stage needs to take rows over from the leaf that it is about to replace."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from stages import code
from stages.stage import Run
from store.growth import Earlier
from store.schema import Schema

PROJECT = Path(__file__).resolve().parents[1]

OF_VALUES = ("store.codecs", "store.encoders", "store.digest", "store.errors", "store.summation")
"""Where values are computed. A codec also knows how its codes are searched and stored, on which no code depends."""


def earlier(run: Run[Any], schema: Schema) -> Earlier:
    """The leaf of an earlier run at the place of the one that this run writes."""
    keys = {name: run.keys[name] for name in schema.keys}
    return Earlier.at(run.layout.leaf(schema.artifact, keys), schema)


@cache
def code_digest(module: str) -> str:
    """Digest of the code that computes values: a module and what it imports of `OF_VALUES`."""
    return code.digest(PROJECT, module, OF_VALUES)
