"""Which artifacts there are."""

from __future__ import annotations

from collections.abc import Mapping

from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.further_codes import FURTHER_CODES
from store.artifacts.geometry import GEOMETRY
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import (
    BINARY_NEIGHBOURS,
    EXACT_NEIGHBOURS,
    FURTHER_NEIGHBOURS,
    QUANTIZED_NEIGHBOURS,
    RESCORED_NEIGHBOURS,
)
from store.artifacts.predicted_quality import PREDICTED_QUALITY
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
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
        FURTHER_CODES,
        EXACT_NEIGHBOURS,
        BINARY_NEIGHBOURS,
        QUANTIZED_NEIGHBOURS,
        FURTHER_NEIGHBOURS,
        RESCORED_NEIGHBOURS,
        GEOMETRY,
        PREDICTED_QUALITY,
        QUALITY,
        FURTHER_QUALITY,
        RESULTS,
    )
}
"""Every artifact of the lake by name."""
