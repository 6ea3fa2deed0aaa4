"""``dvc.yaml`` from the stages' declarations and ``params.yaml``: written by ``make graph``, checked before any run.

Cells are a matrix over ``study.models`` and ``study.datasets``. Where a study gives cells sweeps of their own, stages
that a sweep may concern run for each of a list of cells instead, under the same names: in a matrix all cells would
depend on one section. A stage that reads all cells lists every one of them literally, because DVC takes a dependency
on a folder of outputs for satisfied when only some are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from pipeline.code import CODE
from pipeline.params import PARAMS, SWEPT, Params, stages
from pipeline.stage import CELL, DATASET, MODEL, File, Finished, Metrics, Plot, Stage, Texts
from store.errors import InvalidInput
from store.layout import CORPORA, LAKE, Layout, leaf_path
from store.leaf.commit import write_file
from store.leaf.schema import Schema
from store.yaml_files import read_yaml

DVC = "dvc.yaml"
CELLS = "cells"
"""The variable of ``dvc.yaml`` that holds the cells of a study with sweeps."""

_HEADER = (
    "# Written by `make graph` from params.yaml and the declarations in stages/. Edit those, not this.\n"
)


def build(params: Params, lacking: Set[str] = frozenset()) -> dict[str, Any]:
    """The content of ``dvc.yaml``. A stage that may do without them does not depend on the paths in ``lacking``."""
    # Not by its dependencies: DVC compares whole files, so that a comment would ask for a new lock file.
    code = {
        "cmd": "python -m stages code",
        "always_changed": True,
        "outs": [{CODE: {"cache": False, "persist": True}}],
    }
    declared = stages().values()
    return {
        **({"vars": [{CELLS: _cells(params)}]} if _is_swept(params) else {}),
        "stages": {"code": code, **{stage.name: _stage(stage, params, lacking) for stage in declared}},
        "plots": [
            {file.title: dict(file.drawn)}
            for stage in declared
            for file in stage.files
            if isinstance(file, Plot)
        ],
    }


def text(params: Params, lacking: Set[str] = frozenset()) -> str:
    """``dvc.yaml`` as text."""
    body = yaml.safe_dump(build(params, lacking), sort_keys=False, width=1000, default_flow_style=False)
    return _HEADER + body


def write(root: Path, params: Params, lacking: Set[str] = frozenset()) -> None:
    """Write ``dvc.yaml``, and make the folders that stages read, empty where nothing is computed yet.

    DVC looks an input up in its run cache before it runs a stage, also in ``dvc repro --dry``, which would stop at the
    first input that does not exist. A stage that finds an empty folder says which stage to run.
    """
    write_file(Layout(root), root / DVC, text(params, lacking).encode())
    folders = (LAKE, CORPORA)
    for stage in expand(params).values():
        for path in stage.get("deps", ()):
            if path.split("/")[0] in folders:
                (root / path).mkdir(parents=True, exist_ok=True)


def check(root: Path, params: Params) -> frozenset[str]:
    """Raise `InvalidInput` naming the first difference between ``dvc.yaml`` and what ``params.yaml`` asks for.

    Returns the leaves that ``dvc.yaml`` leaves out where ``params.yaml`` allows it.
    """
    actual = read_yaml(root / DVC)
    lacking = _left_out(params, actual)
    difference = next(_differences("", build(params, lacking), actual), None)
    if difference:
        raise InvalidInput(f"{DVC}: {difference}; run `make graph` so that it agrees with {PARAMS}")
    return lacking


def expand(params: Params) -> dict[str, dict[str, Any]]:
    """What every stage of the study is, by its full name: its sections of ``dvc.yaml`` for each of its cells."""
    labels = {MODEL: params.study.models, DATASET: params.study.datasets}
    found = {}
    for name, stage in build(params)["stages"].items():
        body = stage.get("do", stage)
        if "foreach" in stage:
            items = _cells(params)
        else:
            keys = list(stage.get("matrix", {}))
            items = {
                "-".join(of): dict(zip(keys, of, strict=True))
                for of in product(*(labels[key] for key in keys))
            }
        for suffix, item in items.items():
            found[f"{name}@{suffix}" if suffix else name] = _filled(body, item)
    return found


def _filled(body: Any, item: Mapping[str, str]) -> Any:
    """A part of a stage with an item of its matrix in the place of ``${item.…}``."""
    if isinstance(body, dict):
        return {_filled(name, item): _filled(value, item) for name, value in body.items() if name != "matrix"}
    if isinstance(body, list):
        return [_filled(value, item) for value in body]
    if isinstance(body, str):
        for name, value in item.items():
            body = body.replace(f"${{item.{name}}}", value)
    return body


def _is_swept(params: Params) -> bool:
    return any(params.study.sweeps.values())


def _cells(params: Params) -> dict[str, dict[str, str]]:
    """Each cell by the name that DVC gives it in a matrix, with its keys and where its sections stand."""
    return {
        "-".join(keys[key] for key in CELL): {**keys, **{name: params.place(name, keys) for name in SWEPT}}
        for keys in params.study.cells()
    }


def _left_out(params: Params, actual: dict[str, Any]) -> frozenset[str]:
    """Leaves that the stages which may do without them do not depend on."""
    left_out: set[str] = set()
    for stage in stages().values():
        if stage.may_lack and params.section(stage.section).allow_partial:
            listed = actual.get("stages", {}).get(stage.name, {}).get("deps", [])
            left_out |= {path for schema in stage.may_lack for path in _paths(schema, stage, {}, params)} - {
                *listed
            }
    return frozenset(left_out)


def _stage(stage: Stage, params: Params, lacking: Set[str]) -> dict[str, Any]:
    swept = _is_swept(params) and any(place in SWEPT for place in stage.params)
    matrix = {key: f"${{study.{key}s}}" for key in stage.per}
    keys = {key: f"${{item.{key}}}" for key in stage.per}
    options = "".join(f" --{key} {value}" for key, value in keys.items())
    section: dict[str, Any] = {}
    if matrix and not swept:
        section["matrix"] = matrix
    section["cmd"] = f"python -m stages {stage.name}{options}"
    deps = [
        path
        for one in stage.reads
        for path in _paths(one, stage, keys, params)
        if not (isinstance(one, Finished) and path in lacking)
    ]
    if deps:
        section["deps"] = deps
    wanted = [
        f"${{item.{place}}}" if swept and place in SWEPT else place.format(**keys) for place in stage.params
    ]
    section["params"] = [{CODE: [stage.name]}, *wanted, *([] if stage.per else ["study"])]
    for one in stage.writes:
        listed = section.setdefault("metrics" if isinstance(one, Metrics) else "outs", [])
        listed += [{path: _handling(one)} for path in _paths(one, stage, keys, params)]
    return {"foreach": f"${{{CELLS}}}", "do": section} if swept else section


def _handling(written: Schema | Texts | File) -> dict[str, bool]:
    """What DVC does with an output."""
    # persist: DVC would delete the earlier artifact before the stage runs; a commit replaces it in one step.
    if isinstance(written, Texts):
        return {"cache": False, "persist": True, "push": False}
    kept = isinstance(written, Schema) and written.kept
    return {"persist": True} if kept else {"cache": False, "persist": True}


def _paths(
    one: Schema | Finished | Texts | File, stage: Stage, keys: Mapping[str, str], params: Params
) -> Iterator[str]:
    """Paths of what a run of a stage reads or writes: of its own cell, or of every cell for a stage of the study."""
    if isinstance(one, File):
        yield one.path
        return
    if isinstance(one, Texts):
        for dataset in [keys[DATASET]] if stage.per else params.study.datasets:
            yield f"{CORPORA}/{dataset}"
        return
    schema = one.schema if isinstance(one, Finished) else one
    missing = [key for key in schema.keys if key not in keys]
    if not missing:
        # The label check does not apply to DVC's own placeholders.
        yield "/".join([leaf_path(schema.artifact, {}), *(keys[key] for key in schema.keys)])
        return
    seen = {tuple(cell[key] for key in schema.keys): cell for cell in params.study.cells()}
    for cell in seen.values():
        yield leaf_path(schema.artifact, {key: cell[key] for key in schema.keys})


def _differences(where: str, expected: Any, actual: Any) -> Iterator[str]:
    """Where two trees of mappings and lists differ, in words."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in [*expected, *(key for key in actual if key not in expected)]:
            inner = f"{where}.{key}".lstrip(".")
            if key not in actual:
                yield f"{inner} is missing"
            elif key not in expected:
                yield f"{inner} should not be there"
            else:
                yield from _differences(inner, expected[key], actual[key])
    elif isinstance(expected, list) and isinstance(actual, list):
        for item in expected:
            if item not in actual:
                yield f"{where} lacks {_short(item)}"
        for item in actual:
            if item not in expected:
                yield f"{where} should not have {_short(item)}"
    elif expected != actual:
        yield f"{where} is {_short(actual)}, expected {_short(expected)}"


def _short(item: Any) -> str:
    return repr(next(iter(item)) if isinstance(item, dict) else item)
