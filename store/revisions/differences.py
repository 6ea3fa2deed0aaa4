"""What differs between two revisions of a lake: which artifacts, how many of their values, and by how much."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from store.artifacts.schemas import SCHEMAS
from store.errors import BitlakeError, DamagedArtifact, MissingArtifact
from store.layout import LAKE
from store.leaf.reading import BLOCK_BYTES, Leaf, open_leaf
from store.leaf.source import Folder, Source
from store.revisions.revision import Revision


@dataclass(frozen=True)
class ArrayDifference:
    """An array of which values differ.

    Attributes:
        changed: number of values that differ; NaN equals NaN.
        total: number of values compared; 0 where the shapes differ, and nothing was compared.
        largest: greatest absolute difference of numbers, None for text and where the shapes differ.
        shapes: before and after; None for an array that only one of the two has.
    """

    path: str
    changed: int
    total: int
    largest: float | None
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]


@dataclass(frozen=True)
class LeafDifference:
    """An artifact whose content differs. ``note`` says why its values were not compared, where they were not."""

    path: str
    arrays: tuple[ArrayDifference, ...]
    attributes: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """Everything that differs: artifacts by path below the lake, and figures of the headline by name."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[LeafDifference, ...]
    headline: Mapping[str, tuple[float | None, float | None]]

    def as_json(self) -> dict[str, Any]:
        """The difference as plain JSON values."""
        return asdict(self)


def compare(before: Revision, after: Revision, headline: str | None = None) -> Difference:
    """What changed from one revision to another; arrays are read in blocks, from wherever they are.

    ``headline`` is a file of figures that Git tracks, JSON, relative to the project; without it none are compared.
    """
    old, new = before.outputs, after.outputs
    changed = []
    for path in sorted(old.keys() & new.keys()):
        if old[path].oid == new[path].oid:
            continue
        try:
            schema = SCHEMAS[path.split("/")[1]]
            first, second = (open_leaf(_source(revision, path), schema) for revision in (before, after))
            attributes = sorted(
                name for name in schema.attributes if first.attributes[name] != second.attributes[name]
            )
            found = LeafDifference(_short(path), tuple(_arrays(first, second)), tuple(attributes))
        except (BitlakeError, KeyError) as error:
            found = LeafDifference(_short(path), (), note=str(error))
        changed.append(found)
    return Difference(
        added=tuple(_short(path) for path in sorted(new.keys() - old.keys())),
        removed=tuple(_short(path) for path in sorted(old.keys() - new.keys())),
        changed=tuple(changed),
        headline=dict(_headline(_figures(before, headline), _figures(after, headline))),
    )


def _short(path: str) -> str:
    return path.removeprefix(f"{LAKE}/")


def _source(revision: Revision, path: str) -> Source:
    if revision.rev is None:
        folder = Folder(revision.root / path)
        if folder.names:
            return folder
    return revision.source(path)


def _arrays(before: Leaf, after: Leaf) -> Iterator[ArrayDifference]:
    for path in sorted(before.arrays.keys() | after.arrays.keys()):
        one, other = before.arrays.get(path), after.arrays.get(path)
        if one is None or other is None or one.shape != other.shape:
            yield ArrayDifference(
                path, 0, 0, None, (one.shape if one else None, other.shape if other else None)
            )
        elif one.checksums != other.checksums:
            changed, largest = _values(before, after, path)
            if changed:
                yield ArrayDifference(path, changed, math.prod(one.shape), largest, (one.shape, other.shape))


def _values(before: Leaf, after: Leaf, path: str) -> tuple[int, float | None]:
    """How many values differ, and the largest difference of numbers."""
    declared = before.schema.field_of(path)
    files = before.arrays[path]
    shape = files.shape
    axis = declared.dims.index(declared.rows) if declared.rows is not None else 0
    others = math.prod(size for at, size in enumerate(shape) if at != axis)
    item = 64 if declared.dtype == "string" else np.dtype(declared.dtype).itemsize
    unit = files.chunk[axis]
    step = max(1, BLOCK_BYTES // (max(1, others) * item * unit)) * unit
    changed, largest = 0, 0.0
    for first in range(0, shape[axis], step):
        index = (*([slice(None)] * axis), slice(first, first + step))
        one, other = (leaf.read(path, index) for leaf in (before, after))
        if declared.dtype == "string":
            changed += int(np.count_nonzero(one != other))
            continue
        one, other = one.astype(np.float64), other.astype(np.float64)
        differ = (one != other) & ~(np.isnan(one) & np.isnan(other))
        changed += int(np.count_nonzero(differ))
        if differ.any():
            largest = max(largest, float(np.abs(one[differ] - other[differ]).max()))
    return changed, None if declared.dtype == "string" else largest


def _figures(revision: Revision, path: str | None) -> dict[str, float]:
    if path is None:
        return {}
    try:
        content = json.loads(revision.tracked(path))
    except MissingArtifact:
        return {}
    except ValueError:
        raise DamagedArtifact(
            f"{path} of {revision.label}: is not JSON; run `git checkout {path}`, or choose another revision"
        ) from None
    if not isinstance(content, dict):
        return {}
    return dict(_flat("", content))


def _flat(prefix: str, content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        elif isinstance(value, int | float) and math.isfinite(value):
            yield f"{prefix}{name}", value


def _headline(
    before: Mapping[str, float], after: Mapping[str, float]
) -> Iterator[tuple[str, tuple[float | None, float | None]]]:
    for name in [*before, *(name for name in after if name not in before)]:
        if before.get(name) != after.get(name):
            yield name, (before.get(name), after.get(name))
