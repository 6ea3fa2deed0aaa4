"""E3: PQ and INT8 codes of a cell."""

from store.artifacts.codes import codes_schema
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.codecs.settings import by_key

QUANTIZED_CODES = codes_schema("quantized_codes", by_key(PQCodec, Int8Codec))
