"""How far a study has come: which of its stages are done, stale or missing, and where their outputs are.

What DVC would find out by hashing every file is told from its lock file: a stage is up to date when it was last run by
the same command, with the same parameters and code, on what its inputs are in the lock file now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import budget, code
from pipeline.budget import OTHER
from pipeline.graph import expand
from pipeline.params import PARAMS, Params, stages
from store.revisions.lock import LOCK, locked_stages
from store.revisions.places import PLACES, Locked, everywhere, in_workspace

DONE, STALE, MISSING = "done", "stale", "missing"


@dataclass(frozen=True)
class Step:
    """One run of a stage.

    Attributes:
        name: as DVC calls it; ``stage`` and ``keys`` are what it is made of.
        experiment: the one of the plan that the stage belongs to, if any.
        state: ``done``, ``stale`` or ``missing``; ``why``, in words, where it is not done.
        where: the places that hold all of its outputs.
        outs: paths of its outputs, relative to the project.
    """

    name: str
    stage: str
    experiment: str | None
    keys: Mapping[str, str]
    state: str
    why: str
    where: tuple[str, ...]
    outs: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """The steps of a study in the order of the graph; ``notes`` say which places could not be asked."""

    study: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The progress as plain JSON values."""
        return {
            "study": self.study,
            "steps": [asdict(step) for step in self.steps],
            "notes": list(self.notes),
        }


def progress(root: Path, params: Params, content: Mapping[str, Any], *, remote: bool) -> Progress:
    """The progress of a study, whose parameters are given parsed and as they stand in ``params.yaml``.

    The cache and the default remote are asked only with ``remote``; without, no more than the workspace is looked at.
    """
    lock, planned = locked_stages(root), budget.load(root)
    wanted = {name: stage for name, stage in expand(params).items() if name.partition("@")[0] in stages()}
    entries = {name: lock[name] for name in wanted if name in lock}
    locked = {name: _locked(wanted[name], entry) for name, entry in entries.items()}
    every = [output for outputs in locked.values() for output in outputs]
    found = everywhere(root, every) if remote else in_workspace(root, every)
    reasons = _reasons(root, content, wanted, entries)
    keys = {
        "@".join(filter(None, [stage.name, "-".join(cell[key] for key in stage.per)])): (
            stage.name,
            {key: cell[key] for key in stage.per},
        )
        for stage in stages().values()
        for cell in params.study.cells()
    }

    steps = []
    for name, stage in wanted.items():
        outs = tuple(_outs(stage))
        places = [set(found.places.get(path, ())) for path in outs]
        where = set.intersection(*places) if places else set()
        why = reasons[name]
        if not why and (changed := [path for path in outs if path in found.other]):
            why = f"{changed[0]} is not what {LOCK} says"
        state = MISSING if name not in entries else STALE if why else DONE
        if state == DONE and not where:
            state, why = MISSING, "was made, but is nowhere to be had"
        kind, of = keys[name]
        experiment = planned.experiment_of(kind)
        steps.append(
            Step(
                name=name,
                stage=kind,
                experiment=None if experiment == OTHER else experiment,
                keys=of,
                state=state,
                why=why,
                where=tuple(place for place in PLACES if place in where),
                outs=outs,
            )
        )
    return Progress(params.study.name, tuple(steps), found.notes)


def _reasons(
    root: Path,
    content: Mapping[str, Any],
    wanted: Mapping[str, dict[str, Any]],
    entries: Mapping[str, dict[str, Any]],
) -> dict[str, str]:
    """Why each stage is not up to date; empty where it is."""
    maker = {path: name for name, stage in wanted.items() for path in _outs(stage)}
    outputs = {out["path"]: out.get("md5") for entry in entries.values() for out in entry.get("outs", ())}
    digests = {name: code.digest(root, f"stages.{stage.module}") for name, stage in stages().items()}
    reasons: dict[str, str] = {}
    # The order of the graph: what a stage reads is judged before the stage.
    for name, stage in wanted.items():
        if name not in entries:
            reasons[name] = "never run"
            continue
        entry = entries[name]
        kind = name.partition("@")[0]
        changed = list(_changed_params(stage, entry, content, digests[kind]))
        inputs = {dep["path"]: dep.get("md5") for dep in entry.get("deps", ())}
        behind = [path for path in stage.get("deps", ()) if reasons.get(maker.get(path, ""))]
        if entry.get("cmd") != stage["cmd"]:
            reasons[name] = "its command has changed"
        elif changed:
            reasons[name] = f"{', '.join(changed)} changed"
        elif {*inputs} != {*stage.get("deps", ())} or {*_outs(stage)} - {
            out["path"] for out in entry["outs"]
        }:
            reasons[name] = "what it reads or writes has changed"
        elif behind:
            reasons[name] = f"follows from {maker[behind[0]]}"
        elif other := [path for path, md5 in inputs.items() if md5 != _now(root, path, outputs)]:
            reasons[name] = f"{other[0]} changed"
        else:
            reasons[name] = ""
    return reasons


def _changed_params(
    stage: Mapping[str, Any], entry: Mapping[str, Any], content: Mapping[str, Any], digest: str
) -> Iterator[str]:
    recorded = entry.get("params", {})
    for wanted in stage.get("params", ()):
        if isinstance(wanted, dict):
            if recorded.get(code.CODE, {}) != dict.fromkeys(wanted[code.CODE], digest):
                yield "code"
        elif recorded.get(PARAMS, {}).get(wanted) != _value(content, wanted):
            yield wanted


def _value(content: Mapping[str, Any], place: str) -> Any:
    found: Any = content
    for part in place.split("."):
        found = found[part]
    return found


def _now(root: Path, path: str, outputs: Mapping[str, str | None]) -> str | None:
    """MD5 of an input: as the lock file has it where a stage makes it, else of the file itself."""
    if path in outputs:
        return outputs[path]
    file = root / path
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() if file.is_file() else None


def _outs(stage: Mapping[str, Any]) -> Iterator[str]:
    for out in (*stage.get("outs", ()), *stage.get("metrics", ())):
        yield from out


def _locked(stage: Mapping[str, Any], entry: Mapping[str, Any]) -> list[Locked]:
    """The outputs of a stage as they were when it was last run."""
    kept = {
        path: settings.get("cache", True)
        for out in (*stage.get("outs", ()), *stage.get("metrics", ()))
        for path, settings in out.items()
    }
    return [
        Locked(out["path"], out["md5"], out.get("size", 0), out.get("nfiles"), kept[out["path"]])
        for out in entry.get("outs", ())
        if out["path"] in kept and out.get("md5")
    ]
