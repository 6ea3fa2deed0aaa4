"""E3: quantised codes of a cell and the fitted state that encodes and decodes them."""

from store.artifacts.codes import code_fields
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.leaf.schema import Schema

QUANTIZED_CODES = Schema(
    artifact="quantized_codes",
    keys=("model", "dataset"),
    fields=code_fields({codec.name: codec.STATE for codec in (PQCodec, Int8Codec)}),
    attributes={"model": str, "dataset": str, "fit_rows": int},
)
