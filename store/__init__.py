"""The lake: what an artifact is, where it lives, how it is committed, checked and read.

``store.open_lake()`` is the way in for readers. It is loaded on first use, so that a stage which only imports
``store.codecs`` does not pay for xarray.
"""

from typing import Any

__all__ = ["open_lake"]


def __getattr__(name: str) -> Any:
    if name == "open_lake":
        from store.lake import open_lake

        return open_lake
    raise AttributeError(f"module 'store' has no attribute {name!r}")
