"""Codes of every codec beyond the core."""

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.codes import codes_schema
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.floats import Float32Codec
from store.codecs.registry import CODECS
from store.codecs.settings import by_key

_CORE = {**by_key(Float32Codec), **BINARY_CODES.codecs, **QUANTIZED_CODES.codecs}

FURTHER_CODES = codes_schema(
    "further_codes", {key: codec for key, codec in CODECS.items() if key not in _CORE}, kept=False
)
