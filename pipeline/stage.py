"""What a stage is: its place in the graph, its section of ``params.yaml``, and what it may open and commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.compute import Compute
from store.layout import Layout, leaf_path
from store.leaf.commit import LeafWriter, commit_leaf
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Schema
from store.progress import unwatched

MODEL = "model"
DATASET = "dataset"
CELL = (MODEL, DATASET)
STUDY = ()


class Section(BaseModel):
    """A section of ``params.yaml``: frozen, and no key is accepted that it does not declare."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Study(Section):
    """The cells of a study: every model with every dataset.

    ``sweeps`` names the sweep of a cell by model and dataset; the other cells take the sections as they stand.
    """

    name: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    sweeps: dict[str, dict[str, str]]

    def cells(self) -> Iterator[dict[str, str]]:
        """The keys of every cell, models first."""
        for model in self.models:
            for dataset in self.datasets:
                yield {MODEL: model, DATASET: dataset}


P = TypeVar("P")


@dataclass(frozen=True)
class Stage:
    """One arrow of the graph: what it runs once for, what it reads and writes, which parameters it depends on.

    Attributes:
        name: in ``dvc.yaml``; the module has the same name with ``_`` for ``-``.
        per: the keys it runs once for: a cell, a dataset, or nothing (once a study).
        section: the section of ``params.yaml`` it depends on; empty where there is nothing to choose.
        reads, writes: artifacts of the lake.
        reads_texts, writes_texts: whether it reads or makes the texts of its dataset.
        needs_model, needs_dataset: whether it depends on the entry of its model or dataset in ``params.yaml``.
        needs_cutoffs: whether it depends on the cut-offs, ``search.k``, beside its own section.
        needs_lock: whether its output depends on the versions of installed packages.
        may_lack: whether it can do without some of what it reads, where its section says ``allow_partial``.
        files, metrics: what it writes for people, relative to the project; metrics are shown by ``dvc metrics``.
        plots: entries of the top-level ``plots`` of ``dvc.yaml``.
    """

    name: str
    per: tuple[str, ...]
    section: str = ""
    reads: tuple[Schema, ...] = ()
    writes: tuple[Schema, ...] = ()
    reads_texts: bool = False
    writes_texts: bool = False
    needs_model: bool = False
    needs_dataset: bool = False
    needs_cutoffs: bool = False
    needs_lock: bool = False
    may_lack: bool = False
    files: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: tuple[Mapping[str, Any], ...] = ()

    @property
    def module(self) -> str:
        """Name of the module below ``stages`` that runs it."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Run(Generic[P]):
    """One execution of a stage: its parsed parameters and its keys, and the only way to the lake it has.

    ``model_spec``, ``dataset_spec`` and ``cutoffs`` are the entries of ``params.yaml`` for a stage that declared to
    need them; ``compute`` says where to compute. ``lacking`` are paths of leaves that ``dvc.yaml`` leaves out for a
    stage that may do without them. ``advanced`` is told how many rows this run has computed and how many are left: it
    notes what they took, and stops the run with an error where the rest would take more than the budget allows.
    """

    stage: Stage
    params: P
    study: Study
    layout: Layout
    keys: Mapping[str, str]
    compute: Compute
    model_spec: Any = None
    dataset_spec: Any = None
    cutoffs: tuple[int, ...] = ()
    lacking: frozenset[str] = frozenset()
    advanced: Callable[[int, int], None] = unwatched

    @property
    def model(self) -> str:
        """Label of the model this run is for."""
        return self.keys[MODEL]

    @property
    def dataset(self) -> str:
        """Label of the dataset this run is for."""
        return self.keys[DATASET]

    def open(self, schema: Schema, keys: Mapping[str, str] | None = None) -> Leaf:
        """Open an artifact this stage declared to read, for this run's keys or for the given ones."""
        if schema not in self.stage.reads:
            raise LookupError(f"stage {self.stage.name} opens {schema.artifact} without declaring it")
        found = self.keys if keys is None else keys
        return open_leaf(
            self.layout.leaf(schema.artifact, {name: found[name] for name in schema.keys}), schema
        )

    def has(self, schema: Schema, keys: Mapping[str, str]) -> bool:
        """Whether an artifact is among those this run may read, and there."""
        path = leaf_path(schema.artifact, {name: keys[name] for name in schema.keys})
        return path not in self.lacking and (self.layout.root / path / "zarr.json").is_file()

    def check_inputs(self) -> None:
        """Open every artifact this run would read."""
        cells: Iterable[Mapping[str, str]] = [self.keys] if self.stage.per else self.study.cells()
        for keys in cells:
            for schema in self.stage.reads:
                if not self.lacking or self.has(schema, keys):
                    self.open(schema, keys)

    def commit(self, schema: Schema) -> AbstractContextManager[LeafWriter]:
        """Write an artifact this stage declared to write."""
        if schema not in self.stage.writes:
            raise LookupError(f"stage {self.stage.name} commits {schema.artifact} without declaring it")
        return commit_leaf(self.layout, schema, {name: self.keys[name] for name in schema.keys})

    def say(self, message: str) -> None:
        """Tell the person at the terminal what is going on."""
        print(f"{' × '.join(self.keys.values()) or self.study.name}: {message}", flush=True)
