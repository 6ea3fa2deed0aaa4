"""Codes of every codec beyond the core, with the fitted state that encodes and decodes them."""

from store.artifacts.codes import code_fields
from store.codecs.registry import CODECS
from store.leaf.schema import Schema

EXTENDED_CODES = Schema(
    artifact="extended_codes",
    keys=("model", "dataset"),
    fields=code_fields({key: codec.STATE for key, codec in CODECS.items()}),
    attributes={"model": str, "dataset": str, "fit_rows": int},
    kept=False,
)
