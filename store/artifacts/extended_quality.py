"""Per-query quality of the further codecs and of asymmetric search (``searched``), and of re-scoring (``rescored``).

Re-scored configurations have one cut-off, so they stand in a group of their own.
"""

from store.artifacts.configuration import CONFIGURATION_FIELDS
from store.artifacts.quality import QUALITY
from store.leaf.schema import Schema

_RESCORED = (*CONFIGURATION_FIELDS, "metric", "k", "value")

EXTENDED_QUALITY = Schema(
    artifact="extended_quality",
    keys=QUALITY.keys,
    fields={
        **{f"searched/{name}": declared for name, declared in QUALITY.fields.items()},
        **{f"rescored/{name}": QUALITY.fields[name] for name in _RESCORED},
    },
    attributes=QUALITY.attributes,
)
