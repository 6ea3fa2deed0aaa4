"""E2: Phase-1 codes of a cell. One code of the longest length per seed serves every shorter one as its prefix."""

from store.artifacts.codes import codes_schema
from store.codecs.phase1_codec import Phase1Codec
from store.codecs.settings import by_key

BINARY_CODES = codes_schema("binary_codes", by_key(Phase1Codec), queries=True)
