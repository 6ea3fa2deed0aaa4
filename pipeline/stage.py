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


MODEL_ENTRY = "models.{model}"
DATASET_ENTRY = "datasets.{dataset}"
CUTOFFS = "search.k"
"""Places in ``params.yaml`` that a stage may depend on beside its own section."""


@dataclass(frozen=True)
class Texts:
    """The texts of a run's dataset; for a stage that runs once a study, those of every dataset."""


TEXTS = Texts()


@dataclass(frozen=True)
class File:
    """A file that Git keeps, relative to the project; among what a stage writes, one for people."""

    path: str


@dataclass(frozen=True)
class Metrics(File):
    """A file that ``dvc metrics`` shows."""


@dataclass(frozen=True)
class Plot(File):
    """A table that ``dvc plots`` draws: ``title`` and ``drawn`` are an entry of the ``plots`` of ``dvc.yaml``."""

    title: str
    drawn: Mapping[str, Any]


LOCKED = File("requirements/encode.txt")
"""The versions that texts (read from installed packages) and vectors depend on."""


@dataclass(frozen=True)
class Finished:
    """An artifact of the cells that have it; the others may lack it where the section says ``allow_partial``."""

    schema: Schema


@dataclass(frozen=True)
class Stage:
    """One arrow of the graph: what it runs once for, which parameters it depends on, what it reads and writes.

    Attributes:
        name: in ``dvc.yaml``; the module has the same name with ``_`` for ``-``.
        per: the keys it runs once for: a cell, a dataset, or nothing (once a study).
        params: places in ``params.yaml``, the stage's own section first; what runs once a study depends on ``study``,
            too.
        reads, writes: artifacts of the lake, texts and files.
    """

    name: str
    per: tuple[str, ...]
    params: tuple[str, ...] = ()
    reads: tuple[Schema | Finished | Texts | File, ...] = ()
    writes: tuple[Schema | Texts | File, ...] = ()

    @property
    def module(self) -> str:
        """Name of the module below ``stages`` that runs it."""
        return self.name.replace("-", "_")

    @property
    def section(self) -> str:
        """Its own section of ``params.yaml``; empty where there is nothing to choose."""
        return next(iter(self.params), "")

    @property
    def inputs(self) -> tuple[Schema, ...]:
        """The artifacts that it reads."""
        read = (one.schema if isinstance(one, Finished) else one for one in self.reads)
        return tuple(one for one in read if isinstance(one, Schema))

    @property
    def may_lack(self) -> tuple[Schema, ...]:
        """The artifacts that it can do without in some cells."""
        return tuple(one.schema for one in self.reads if isinstance(one, Finished))

    @property
    def outputs(self) -> tuple[Schema, ...]:
        """The artifacts that it writes."""
        return tuple(one for one in self.writes if isinstance(one, Schema))

    @property
    def files(self) -> tuple[File, ...]:
        """The files that it writes for people."""
        return tuple(one for one in self.writes if isinstance(one, File))


@dataclass(frozen=True)
class Run(Generic[P]):
    """One execution of a stage: its parsed parameters and its keys, and the only way to the lake it has.

    ``values`` are what the stage's declared places in ``params.yaml`` hold, by place. ``lacking`` are paths of leaves
    that ``dvc.yaml`` leaves out for a stage that may do without them. ``advanced`` is told how many rows this run has
    computed and how many are left: it notes what they took, and stops the run with an error where the rest would take
    more than the budget allows. ``makers`` are the stages by what they make. ``settings`` are recorded with what is
    committed, and ``unchanged`` raises where parameters or code are no longer those that the run was started with.
    """

    stage: Stage
    params: P
    study: Study
    layout: Layout
    keys: Mapping[str, str]
    values: Mapping[str, Any] = field(default_factory=dict)
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

    @property
    def model_spec(self) -> Any:
        """The entry of its model, for a stage that declared `MODEL_ENTRY`."""
        return self.values[MODEL_ENTRY]

    @property
    def dataset_spec(self) -> Any:
        """The entry of its dataset, for a stage that declared `DATASET_ENTRY`."""
        return self.values[DATASET_ENTRY]

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The cut-offs of every metric, ascending, for a stage that declared `CUTOFFS`."""
        found: tuple[int, ...] = self.values[CUTOFFS]
        return found

    def open(self, schema: Schema, keys: Mapping[str, str] | None = None) -> Leaf:
        """Open an artifact this stage declared to read, for this run's keys or for the given ones."""
        if schema not in self.stage.inputs:
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
            for schema in self.stage.inputs:
                if not self.lacking or self.has(schema, keys):
                    self.open(schema, keys)
        self.compare_inputs()

    def compare_inputs(self) -> None:
        """Raise `DamagedArtifact` where what this run would read, as far as it is there, does not belong together."""
        self.inputs.compare(
            (schema, {name: keys[name] for name in schema.keys})
            for keys in self._cells()
            for schema in self.stage.inputs
            if self.has(schema, keys)
        )

    def _cells(self) -> Iterable[Mapping[str, str]]:
        return [self.keys] if self.stage.per else list(self.study.cells())

    @contextmanager
    def commit(self, schema: Schema) -> Iterator[LeafWriter]:
        """Write an artifact this stage declared to write; with it is recorded what it was made from.

        Raises `InvalidInput` where what it was made from is no longer what is there.
        """
        if schema not in self.stage.outputs:
            raise LookupError(f"stage {self.stage.name} commits {schema.artifact} without declaring it")
        with commit_leaf(self.layout, schema, {name: self.keys[name] for name in schema.keys}) as leaf:
            yield leaf
            self.unchanged()
            leaf.origin = self.inputs.origin(self.settings)

    def say(self, message: str) -> None:
        """Tell the person at the terminal what is going on."""
        print(f"{' × '.join(self.keys.values()) or self.study.name}: {message}", flush=True)
