"""Which artifacts there are."""

from __future__ import annotations

from collections.abc import Mapping

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.extended_codes import EXTENDED_CODES
from store.artifacts.extended_quality import EXTENDED_QUALITY
from store.artifacts.geometry import GEOMETRY
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import BINARY_NEIGHBOURS, EXACT_NEIGHBOURS, QUANTIZED_NEIGHBOURS
from store.artifacts.quality import QUALITY
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.artifacts.results import RESULTS
from store.leaf.schema import Schema

SCHEMAS: Mapping[str, Schema] = {
    schema.artifact: schema
    for schema in (
        JUDGEMENTS,
        EMBEDDINGS,
        BINARY_CODES,
        QUANTIZED_CODES,
        EXTENDED_CODES,
        EXACT_NEIGHBOURS,
        BINARY_NEIGHBOURS,
        QUANTIZED_NEIGHBOURS,
        GEOMETRY,
        QUALITY,
        EXTENDED_QUALITY,
        RESULTS,
    )
}
"""Every artifact of the lake by name."""
