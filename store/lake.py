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
from store.errors import DamagedArtifact, InvalidInput, MissingArtifact
from store.layout import LAKE, Layout, leaf_path
from store.leaf.origin import disagreements
from store.leaf.reading import Leaf, open_leaf, same_corpus
from store.leaf.schema import Schema
from store.leaf.source import Folder, Source
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
    """All leaves of an artifact, or of several that answer the same question.

    ``sel`` with one label for every key gives a lazy ``xarray.Dataset``; with fewer or with lists, or where a leaf
    holds groups, a ``xarray.DataTree``. ``decorate`` adds to the Dataset of a leaf what other leaves know of it.
    """

    leaves: Leaves
    schemas: tuple[Schema, ...]
    decorate: Callable[[Leaves, Leaf, xr.Dataset], xr.Dataset] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """What a leaf is kept by."""
        return self.schemas[0].keys

    def cells(self) -> list[Keys]:
        """Keys of the leaves that are here, sorted."""
        found = {tuple(path.split("/")[2:]) for schema in self.schemas for path in self.leaves.leaves(schema)}
        return [dict(zip(self.keys, values, strict=True)) for values in sorted(found)]

    def sel(self, **labels: Any) -> Any:
        """Select by key and, within a cell, by label as `xarray.Dataset.sel` does.

        A single label takes its dimension away, a list keeps it in the order asked for, and a slice is a range of
        labels. Raises `InvalidInput` for a label that nothing carries, `MissingArtifact` for a cell that is not here,
        and `DamagedArtifact` for a leaf that is not that of its cell.
        """
        import xarray as xr

        from store.selection import select_cells, single

        asked = {name: labels.pop(name) for name in self.keys if name in labels}
        cells = select_cells(self.schemas[0].artifact, self.cells(), asked)
        met: dict[str, Leaf] = {}
        if len(asked) == len(self.keys) and all(np.ndim(label) == 0 for label in asked.values()):
            return self._cell({name: single(label) for name, label in cells[0].items()}, labels, met)
        nodes: dict[str, Any] = {}
        for cell in cells:
            path, found = "/".join(cell.values()), self._cell(cell, labels, met)
            if isinstance(found, xr.Dataset):
                nodes[path] = found
            else:
                nodes.update(
                    {f"{path}{node.path}": node.to_dataset() for node in found.subtree if node.has_data}
                )
        return xr.DataTree.from_dict(nodes)

    def _cell(self, keys: Keys, labels: Mapping[str, Any], met: dict[str, Leaf]) -> Any:
        import xarray as xr

        from store.leaf.labelled import datasets
        from store.selection import select, select_code

        leaves = list(self._leaves(keys, met))
        groups = {name: data for leaf in leaves for name, data in datasets(leaf).items()}
        if set(groups) == {""}:
            data = groups[""] if self.decorate is None else self.decorate(self.leaves, leaves[0], groups[""])
            return select(data, labels)
        if "codec" in labels:
            return select_code(groups, labels)
        if labels:
            raise InvalidInput(f"sel: {', '.join(labels)} can only be given together with codec")
        return xr.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})

    def _leaves(self, keys: Keys, met: dict[str, Leaf]) -> Iterator[Leaf]:
        """The leaves of a cell; ``met`` are those, by path, that the same question has met before."""
        found = False
        lacking = MissingArtifact(
            f"{self.schemas[0].artifact}: {keys} is not here; run `dvc pull` or `dvc repro`"
        )
        self._meet_judgements(keys, met)
        for schema in self.schemas:
            path = leaf_path(schema.artifact, keys)
            try:
                source = self.leaves.source(path)
            except MissingArtifact as error:
                # A revision has no artifact that is not kept; those of its kind that are kept can be read without it.
                if schema.kept:
                    raise
                lacking = error
                continue
            if source.names:
                found = True
                met[path] = open_leaf(source, schema, keys)
                yield met[path]
        for disagreement in disagreements(met):
            raise DamagedArtifact(
                f"{disagreement.path}: {disagreement.problem}; `lake verify` says what to run again"
            )
        if not found:
            raise lacking

    def _meet_judgements(self, keys: Keys, met: dict[str, Leaf]) -> None:
        """What its rows stand for, where that is on this machine: a server would have to be asked."""
        if "dataset" in keys:
            path = leaf_path(JUDGEMENTS.artifact, {"dataset": keys["dataset"]})
            if path not in met and isinstance(source := self.leaves.source(path), Folder) and source.names:
                met[path] = open_leaf(source, JUDGEMENTS, {"dataset": keys["dataset"]})


@dataclass(frozen=True)
class Stacked(Collection):
    """Leaves, and their groups, that have a dimension ``configuration``: one after the other along it.

    What one of them lacks reads as missing, see `store.leaf.stacked`.
    """

    def _cell(self, keys: Keys, labels: Mapping[str, Any], met: dict[str, Leaf]) -> Any:
        from store.leaf.stacked import stacked
        from store.selection import CONFIGURATION, select

        return select(stacked(list(self._leaves(keys, met)), CONFIGURATION), labels)


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
        return self._collection(BINARY_CODES, QUANTIZED_CODES, FURTHER_CODES)

    @property
    def neighbours(self) -> Stacked:
        """Rows found by every configuration; ``sel(codec="float32")`` are the exact neighbours.

        A smaller Hamming distance and a larger inner product mean nearer: both are in ``scores``. Re-scored results
        have fewer ranks than the others, -1 and NaN at the rest. Counts of ties (``closer``, ``tied``) are -1 where
        none were made.
        """
        return Stacked(
            self.leaves,
            (
                EXACT_NEIGHBOURS,
                BINARY_NEIGHBOURS,
                QUANTIZED_NEIGHBOURS,
                FURTHER_NEIGHBOURS,
                RESCORED_NEIGHBOURS,
            ),
        )

    @property
    def geometry(self) -> Collection:
        """Geometry of a cell over ``measure``."""
        return self._collection(GEOMETRY)

    @property
    def predictions(self) -> Collection:
        """Quality expected of Phase-1 codes over ``(metric, bits, oversample, k)``, from the vectors alone."""
        return self._collection(PREDICTED_QUALITY)

    @property
    def quality(self) -> Stacked:
        """Per-query quality over ``(configuration, metric, k, query)``, of every codec and search.

        What was not measured at a cut-off is NaN: re-scored results have one ``k``.
        """
        return Stacked(self.leaves, (QUALITY, FURTHER_QUALITY))

    @property
    def results(self) -> xr.Dataset:
        """The cube of a study over ``(model, dataset, codec, bits, metric, k)``."""
        from store.leaf.labelled import datasets

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


def _with_ids(leaves: Leaves, embeddings: Leaf, data: xr.Dataset) -> xr.Dataset:
    """The vectors with the ids of their rows, or with an attribute that says where those are."""
    from store.leaf.labelled import datasets

    keys = {"dataset": embeddings.attributes["dataset"]}
    path = leaf_path(JUDGEMENTS.artifact, keys)
    source = leaves.source(path)
    if not source.names:
        return data.assign_attrs(
            missing=f"document_id and query_id: {path} is not here; run `dvc pull {path}`"
        )
    judgements = open_leaf(source, JUDGEMENTS, keys)
    same_corpus(embeddings, judgements)
    ids = datasets(judgements)[""]
    return data.assign_coords({name: ids[name] for name in ("document_id", "query_id")})
