"""Reading the lake through xarray: lazy, labelled, checked.

`open_lake` is what notebooks use. Every array stays on disk until it is indexed; for parallel or larger than
memory work call ``.chunk()`` with chunks that are multiples of the shards (``variable.encoding["shards"]``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

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
from store.errors import InvalidInput, MissingArtifact
from store.layout import LAKE, Layout, leaf_path
from store.leaf.labelled import datasets
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Schema
from store.leaf.source import Source
from store.leaf.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

Keys = dict[str, str]


class Leaves(Protocol):
    """Where leaves are found: the workspace, or a revision."""

    def leaves(self, schema: Schema) -> list[str]:
        """Paths of an artifact's leaves that are there, relative to the project, sorted."""

    def source(self, path: str) -> Source:
        """The files of the leaf at ``path``; without names where there is none."""


@dataclass(frozen=True)
class Collection:
    """All leaves of an artifact, or of several that answer the same question (codes, neighbours).

    ``sel`` with every key gives one lazy ``xarray.Dataset``; with fewer, or where a leaf holds groups, a
    ``xarray.DataTree``.
    """

    leaves: Leaves
    schemas: tuple[Schema, ...]
    decorate: Callable[[Leaves, Keys, xr.Dataset], xr.Dataset] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """What a leaf is kept by."""
        return self.schemas[0].keys

    def cells(self) -> list[Keys]:
        """Keys of the leaves that are here, sorted."""
        found = {tuple(path.split("/")[2:]) for schema in self.schemas for path in self.leaves.leaves(schema)}
        return [dict(zip(self.keys, values, strict=True)) for values in sorted(found)]

    def sel(self, **labels: Any) -> Any:
        """Select by key and, within a cell, by ``codec``, ``bits`` and ``seed`` where the artifact has them.

        Raises `InvalidInput` for a label that nothing carries and `MissingArtifact` for a cell that is not here.
        """
        import xarray as xr

        keys = {name: labels.pop(name) for name in self.keys if name in labels}
        cells = [cell for cell in self.cells() if all(cell[name] == value for name, value in keys.items())]
        if not cells:
            here = ", ".join("/".join(cell.values()) for cell in self.cells()) or "nothing"
            raise MissingArtifact(f"{self.schemas[0].artifact}: no leaf for {keys}; here: {here}")
        if len(keys) == len(self.keys):
            return self._cell(cells[0], labels)
        branches = {"/".join(cell.values()): self._cell(cell, labels) for cell in cells}
        nodes: dict[str, Any] = {}
        for path, found in branches.items():
            if isinstance(found, xr.Dataset):
                nodes[path] = found
            else:
                nodes.update(
                    {f"{path}{node.path}": node.to_dataset() for node in found.subtree if node.has_data}
                )
        return xr.DataTree.from_dict(nodes)

    def _cell(self, keys: Keys, labels: Mapping[str, Any]) -> Any:
        import xarray as xr

        groups = {name: data for leaf in self._leaves(keys) for name, data in datasets(leaf).items()}
        if set(groups) == {""}:
            data = groups[""] if self.decorate is None else self.decorate(self.leaves, keys, groups[""])
            return _select(data, labels)
        if "codec" in labels:
            return _select_code(groups, labels)
        _refuse(labels, "codec")
        return xr.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})

    def _leaves(self, keys: Keys) -> Iterator[Leaf]:
        found = False
        lacking = MissingArtifact(
            f"{self.schemas[0].artifact}: {keys} is not here; run `dvc pull` or `dvc repro`"
        )
        for schema in self.schemas:
            try:
                source = self.leaves.source(leaf_path(schema.artifact, keys))
            except MissingArtifact as error:
                # A revision has no artifact that is not kept; those of its kind that are kept can be read without it.
                if schema.kept:
                    raise
                lacking = error
                continue
            if source.names:
                found = True
                yield open_leaf(source, schema)
        if not found:
            raise lacking


@dataclass(frozen=True)
class Neighbours(Collection):
    """What every search of a cell found, exact, binary and quantised side by side."""

    def _cell(self, keys: Keys, labels: Mapping[str, Any]) -> Any:
        import xarray as xr

        parts = []
        for leaf in self._leaves(keys):
            data = datasets(leaf)[""].drop_dims([name for name in ("k", "judgement") if name in _dims(leaf)])
            if "distances" in data:
                # One word for both: a smaller distance and a larger inner product mean nearer.
                data = data.rename(distances="scores")
                data["scores"] = data["scores"].astype("f8")
            parts.append(data)
        return _select(xr.concat(parts, dim="configuration", combine_attrs="override"), labels)


@dataclass(frozen=True)
class Lake:
    """The artifacts of a project by the question they answer."""

    leaves: Leaves

    def _collection(self, *schemas: Schema) -> Collection:
        return Collection(self.leaves, schemas)

    @property
    def embeddings(self) -> Collection:
        """Vectors: ``documents (document, dimension)`` and ``queries (query, dimension)``, with their ids."""
        return Collection(self.leaves, (EMBEDDINGS,), _with_ids)

    @property
    def judgements(self) -> Collection:
        """Ids and relevance judgements of a dataset."""
        return self._collection(JUDGEMENTS)

    @property
    def codes(self) -> Collection:
        """Codes of every codec; ``sel(codec="phase1", bits=256, seed=0)`` slices the packed prefix.

        A variant is selected by its key, ``codec="sign-mean"``.
        """
        return self._collection(BINARY_CODES, QUANTIZED_CODES, EXTENDED_CODES)

    @property
    def neighbours(self) -> Neighbours:
        """Rows found by every configuration; ``sel(codec="float32")`` are the exact neighbours."""
        return Neighbours(self.leaves, (EXACT_NEIGHBOURS, BINARY_NEIGHBOURS, QUANTIZED_NEIGHBOURS))

    @property
    def geometry(self) -> Collection:
        """Geometry of a cell over ``measure``."""
        return self._collection(GEOMETRY)

    @property
    def quality(self) -> Collection:
        """Per-query quality over ``(configuration, metric, k, query)``."""
        return self._collection(QUALITY)

    @property
    def extended_quality(self) -> Collection:
        """Per-query quality of further codecs and asymmetric search (``searched``), and of ``rescored`` results."""
        return self._collection(EXTENDED_QUALITY)

    @property
    def results(self) -> xr.Dataset:
        """The cube of a study over ``(model, dataset, codec, bits, metric, k)``."""
        return datasets(open_leaf(self.leaves.source(leaf_path(RESULTS.artifact, {})), RESULTS))[""]


def open_lake(repo: str | Path = ".", rev: str | None = None, remote: str | None = None) -> Lake:
    """The lake of the project at ``repo``, a path or a Git URL.

    With nothing else it is the workspace: what has been computed or pulled. With ``rev`` (any commit, tag or branch),
    with ``remote`` (the name of a DVC remote), or of a URL, nothing need be pulled: arrays are read from DVC's cache
    or the remote, and only the bytes that an index asks for. Raises `MissingArtifact` where there is no lake and
    `InvalidInput` for an unknown revision or remote.
    """
    folder = Path(repo)
    if rev is not None or remote is not None or not folder.is_dir():
        from store.revisions.revision import open_revision

        return Lake(open_revision(str(repo), rev, remote))
    layout = Layout(folder)
    if not (layout.lake / "zarr.json").is_file():
        raise MissingArtifact(
            f"{repo}: no {LAKE} here; give the root of a project, then run `dvc pull` or `make repro`"
        )
    return Lake(Workspace(layout))


def _dims(leaf: Leaf) -> set[str]:
    return {name for path in leaf.paths for name in leaf.schema.field_of(path).dims}


def _with_ids(leaves: Leaves, keys: Keys, data: xr.Dataset) -> xr.Dataset:
    source = leaves.source(leaf_path(JUDGEMENTS.artifact, {"dataset": keys["dataset"]}))
    if not source.names:
        return data
    ids = datasets(open_leaf(source, JUDGEMENTS))[""]
    return data.assign_coords({name: ids[name] for name in ("document_id", "query_id")})


def _refuse(labels: Mapping[str, Any], missing: str) -> None:
    if labels:
        raise InvalidInput(f"sel: {', '.join(labels)} can only be given together with {missing}")


def _select_code(groups: Mapping[str, xr.Dataset], labels: Mapping[str, Any]) -> xr.Dataset:
    """The codes of one codec, and of one length and seed if given."""
    codec, bits = labels["codec"], labels.get("bits")
    candidates = {name: data for name, data in groups.items() if data.attrs.get("codec", name) == codec}
    if not candidates:
        known = sorted({data.attrs.get("codec", name) for name, data in groups.items()})
        raise InvalidInput(f"sel: codec {codec!r} is not here; there are {', '.join(known)}")
    if codec in candidates and "bits" in candidates[codec].attrs:
        data = candidates[codec]
        if bits is not None:
            stored = 8 * data.sizes["byte"]
            if bits % 8 or not 0 < bits <= stored:
                raise InvalidInput(f"sel: bits {bits} is not a multiple of 8 up to the {stored} stored")
            data = data.isel(byte=slice(0, bits // 8)).assign_attrs(bits=bits)
    else:
        lengths = {8 * data.sizes["byte"]: data for data in candidates.values()}
        if bits is None and len(lengths) == 1:
            bits = next(iter(lengths))
        if bits not in lengths:
            raise InvalidInput(f"sel: bits {bits} is not stored for {codec}; there are {sorted(lengths)}")
        data = lengths[bits]
    return _select(data, {name: value for name, value in labels.items() if name not in ("codec", "bits")})


def _select(data: xr.Dataset, labels: Mapping[str, Any]) -> xr.Dataset:
    """Select by dimension coordinates and by the columns of a ``configuration`` dimension."""
    for name, value in labels.items():
        if name in data.dims:
            try:
                data = data.sel({name: value})
            except KeyError:
                raise InvalidInput(
                    f"sel: {name} {value!r} is not here; there are {data[name].values.tolist()}"
                ) from None
        elif name in data.coords and data[name].dims == ("configuration",):
            chosen = np.flatnonzero(data[name].values == value)
            if not len(chosen):
                raise InvalidInput(
                    f"sel: {name} {value!r} is not here; there are {sorted(set(data[name].values))}"
                )
            data = data.isel(configuration=chosen)
        else:
            raise InvalidInput(f"sel: {name!r} is neither a key nor a coordinate of this artifact")
    if data.sizes.get("configuration") == 1 and labels:
        data = data.isel(configuration=0)
    return data
