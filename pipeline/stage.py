"""What a stage is: its place in the graph, its section of ``params.yaml``, and what it may open and commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.inputs import Inputs, Makers
from store.layout import Layout, leaf_path
from store.leaf.commit import LeafWriter, commit_leaf
from store.leaf.reading import Leaf
from store.leaf.schema import Schema
from store.progress import unwatched

if TYPE_CHECKING:
    import xarray as xr

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
    need them. ``lacking`` are paths of leaves that ``dvc.yaml`` leaves out for a
    stage that may do without them. ``advanced`` is told how many rows this run has computed and how many are left: it
    notes what they took, and stops the run with an error where the rest would take more than the budget allows.
    ``makers`` are the stages by what they make. ``settings`` are recorded with what is committed, and ``unchanged``
    raises where parameters or code are no longer those that the run was started with.
    """

    stage: Stage
    params: P
    study: Study
    layout: Layout
    keys: Mapping[str, str]
    model_spec: Any = None
    dataset_spec: Any = None
    cutoffs: tuple[int, ...] = ()
    lacking: frozenset[str] = frozenset()
    advanced: Callable[[int, int], None] = unwatched
    makers: Makers = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    unchanged: Callable[[], None] = lambda: None
    inputs: Inputs = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", Inputs(self.layout, self.makers))

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
        return self.inputs.open(schema, {name: found[name] for name in schema.keys})

    def labelled(self, schema: Schema, keys: Mapping[str, str] | None = None, group: str = "") -> xr.Dataset:
        """An artifact that `open` opens, or a group below it, as labelled arrays with the attributes of its leaf.

        Arrays are read when they are used: `load` those that are used more than once.
        """
        from store.leaf.labelled import datasets

        leaf = self.open(schema, keys)
        return datasets(leaf)[group].assign_attrs(leaf.attributes)

    def has(self, schema: Schema, keys: Mapping[str, str]) -> bool:
        """Whether an artifact is among those this run may read, and there."""
        path = leaf_path(schema.artifact, {name: keys[name] for name in schema.keys})
        return path not in self.lacking and (self.layout.root / path / "zarr.json").is_file()

    def check_inputs(self) -> None:
        """Open every artifact this run would read."""
        for keys in self._cells():
            for schema in self.stage.reads:
                if not self.lacking or self.has(schema, keys):
                    self.open(schema, keys)
        self.compare_inputs()

    def compare_inputs(self) -> None:
        """Raise `DamagedArtifact` where what this run would read, as far as it is there, does not belong together."""
        self.inputs.compare(
            (schema, {name: keys[name] for name in schema.keys})
            for keys in self._cells()
            for schema in self.stage.reads
            if self.has(schema, keys)
        )

    def _cells(self) -> Iterable[Mapping[str, str]]:
        return [self.keys] if self.stage.per else list(self.study.cells())

    @contextmanager
    def commit(self, schema: Schema) -> Iterator[LeafWriter]:
        """Write an artifact this stage declared to write; with it is recorded what it was made from.

        Raises `InvalidInput` where what it was made from is no longer what is there.
        """
        if schema not in self.stage.writes:
            raise LookupError(f"stage {self.stage.name} commits {schema.artifact} without declaring it")
        with commit_leaf(self.layout, schema, {name: self.keys[name] for name in schema.keys}) as leaf:
            yield leaf
            self.unchanged()
            leaf.origin = self.inputs.origin(self.settings)

    def say(self, message: str) -> None:
        """Tell the person at the terminal what is going on."""
        print(f"{' × '.join(self.keys.values()) or self.study.name}: {message}", flush=True)
