"""What the study took, beside the plan and the caps of ``studies/budget.yaml``; and whether a stage may go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.ledger import Entry, Usage
from pipeline.named_studies import PLAN, STUDIES
from pipeline.params import stages
from store.errors import InvalidInput
from store.validation import first_problem
from store.yaml_files import read_yaml

BUDGET = f"{STUDIES}/{PLAN}"

HOUR = 3600.0
OTHER = "other"
"""What belongs to no experiment of the plan: reading collections, quality, figures, codecs beyond the core."""

Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Group = Literal["core", "exploratory", "all"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(_Part):
    """The stages that an experiment consists of, and the hours planned for it, from … to; null where none are."""

    stages: tuple[str, ...]
    gpu_hours: tuple[Hours, Hours] | None
    cpu_hours: tuple[Hours, Hours] | None

    @model_validator(mode="after")
    def _from_to(self) -> Self:
        for name in ("gpu_hours", "cpu_hours"):
            span = getattr(self, name)
            if span is not None and span[0] > span[1]:
                raise ValueError(f"{name} is from {span[0]} to {span[1]}, expected the smaller first")
        return self


class Caps(_Part):
    """GPU-hours above which a stage stops: those of E1 to E8, of X1 to X4, and of everything."""

    core: Hours
    exploratory: Hours
    all: Hours


class Budget(_Part):
    """The plan by experiment, E… (core) and X… (exploratory), and the caps."""

    experiments: dict[Annotated[str, Field(pattern=r"^[EX][0-9]+$")], Experiment]
    caps: Caps

    @model_validator(mode="after")
    def _each_stage_once(self) -> Self:
        seen: dict[str, str] = {}
        for name, experiment in self.experiments.items():
            for stage in experiment.stages:
                if stage in seen:
                    raise ValueError(f"stage {stage} is in {seen[stage]} and in {name}")
                seen[stage] = name
        return self

    def experiment_of(self, stage: str) -> str:
        """The experiment that a stage belongs to, or `OTHER`."""
        return next((name for name, planned in self.experiments.items() if stage in planned.stages), OTHER)

    def groups_of(self, stage: str) -> tuple[Group, ...]:
        """The groups whose caps a stage counts against."""
        experiment = self.experiment_of(stage)
        if experiment == OTHER:
            return ("all",)
        return ("core" if experiment.startswith("E") else "exploratory", "all")


def load(root: Path) -> Budget:
    """The plan and the caps of the project at ``root``.

    Raises `InvalidInput` with one line that names the first wrong field, what was expected and what came.
    """
    try:
        budget = Budget.model_validate(read_yaml(root / BUDGET))
    except ValidationError as error:
        raise InvalidInput(f"{BUDGET}: {first_problem(error)}") from None
    known = stages()
    for name, experiment in budget.experiments.items():
        for stage in experiment.stages:
            if stage not in known:
                raise InvalidInput(
                    f"{BUDGET}: experiments.{name}.stages: {stage!r} is not a stage; choose among {', '.join(known)}"
                )
    return budget


def gpu_hours(budget: Budget, entries: Iterable[Entry]) -> dict[Group, float]:
    """GPU-hours of all runs by group, those that failed and those that were killed included."""
    spent: dict[Group, float] = {"core": 0.0, "exploratory": 0.0, "all": 0.0}
    for entry in entries:
        for group in budget.groups_of(entry.stage):
            spent[group] += sum(run.gpu_s for run in entry.runs) / HOUR
    return spent


def check_caps(budget: Budget, stage: str, spent: Mapping[Group, float], more: float) -> None:
    """Raise `InvalidInput` where ``more`` GPU-hours of a stage, beyond those spent, pass one of its caps."""
    for group in budget.groups_of(stage) if more > 0 else ():
        cap = getattr(budget.caps, group)
        if spent[group] + more > cap:
            raise InvalidInput(
                f"{BUDGET}: caps.{group}: {stage} would bring it to {spent[group] + more:.3g} GPU-hours "
                f"({spent[group]:.3g} spent, {more:.3g} to come), the cap is {cap:g}; "
                "raise it and run again (what is finished is kept)"
            )


def expected_gpu_hours(stage: str, entries: Iterable[Entry]) -> float:
    """GPU-hours that a run of a stage is expected to take: those of its longest finished run; 0 without one."""
    runs = [run for entry in entries if entry.stage == stage for run in entry.runs]
    return max((run.gpu_s for run in runs if run.outcome == "finished"), default=0.0) / HOUR


def summary(budget: Budget, entries: Sequence[Entry]) -> dict[str, Any]:
    """Hours by experiment beside the plan, and GPU-hours by group beside the caps, as plain JSON values."""
    experiments = {}
    for name in (*budget.experiments, OTHER):
        own = [entry for entry in entries if budget.experiment_of(entry.stage) == name]
        planned = budget.experiments.get(name)
        experiments[name] = {
            "stages": list(planned.stages) if planned else sorted({entry.stage for entry in own}),
            **_total([run for entry in own for run in entry.runs]),
            "gpu_hours_planned": planned.gpu_hours if planned else None,
            "cpu_hours_planned": planned.cpu_hours if planned else None,
        }
    spent = gpu_hours(budget, entries)
    caps = {
        group: {"gpu_hours": round(hours, 4), "cap": getattr(budget.caps, group)}
        for group, hours in spent.items()
    }
    return {"experiments": experiments, "caps": caps}


def _total(runs: Sequence[Usage]) -> dict[str, Any]:
    return {
        "runs": {
            outcome: sum(run.outcome == outcome for run in runs)
            for outcome in ("finished", "failed", "unfinished")
        },
        "gpu_hours": round(sum(run.gpu_s for run in runs) / HOUR, 4),
        "cpu_hours": round(sum(run.cpu_s for run in runs) / HOUR, 4),
        "wall_hours": round(sum(run.wall_s for run in runs) / HOUR, 4),
        "peak_bytes": max((run.peak_bytes for run in runs), default=0),
        "gpu_peak_bytes": max((run.gpu_peak_bytes for run in runs), default=0),
        "devices": sorted({run.device for run in runs}),
    }
