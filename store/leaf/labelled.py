"""A leaf as labelled arrays: its dimensions and coordinates as its schema declares them, read when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.leaf.reading import MANIFEST, Leaf

if TYPE_CHECKING:
    import xarray as xr


def datasets(leaf: Leaf) -> dict[str, xr.Dataset]:
    """The lazy Datasets of a leaf by group, ``""`` for its root."""
    import xarray as xr

    found = {}
    for group in leaf.groups() or ("",):
        data = xr.open_zarr(leaf.store, group=group or None, consolidated=False, chunks=None, zarr_format=3)
        data.attrs.pop(MANIFEST, None)
        prefix = f"{group}/" if group else ""
        found[group] = data.set_coords(
            [str(name) for name in data.data_vars if leaf.schema.field_of(f"{prefix}{name}").coordinate]
        )
    return found
