"""``dvc.yaml`` from the stages' declarations and ``params.yaml``: written by ``make graph``, checked before any run.

Cells are a matrix over ``study.models`` and ``study.datasets``. A stage that reads all cells lists every one of
them literally, because DVC takes a dependency on a folder of outputs for satisfied when only some are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stages.code import CODE, PACKAGES
from stages.params import PARAMS, STUDIES, Params, load, parse, parse_yaml, read_yaml, stages
from stages.stage import DATASET, MODEL, Stage
from store.commit import write_file
from store.errors import InvalidInput
from store.layout import CORPORA, Layout, leaf_path
from store.schema import Schema

DVC = "dvc.yaml"
LOCK = "requirements/encode.txt"
"""The versions that texts (read from installed packages) and vectors depend on."""

_HEADER = (
    "# Written by `make graph` from params.yaml and the declarations in stages/. Edit those, not this.\n"
)


def build(params: Params) -> dict[str, Any]:
    """The content of ``dvc.yaml``."""
    code = {
        "cmd": "python -m stages code",
        "deps": list(PACKAGES),
        "outs": [{CODE: {"cache": False, "persist": True}}],
    }
    declared = stages().values()
    return {
        "stages": {"code": code, **{stage.name: _stage(stage, params) for stage in declared}},
        "plots": [dict(plot) for stage in declared for plot in stage.plots],
    }


def text(params: Params) -> str:
    """``dvc.yaml`` as text."""
    body = yaml.safe_dump(build(params), sort_keys=False, width=1000, default_flow_style=False)
    return _HEADER + body


def write(root: Path, params: Params) -> None:
    """Write ``dvc.yaml``."""
    write_file(Layout(root), root / DVC, text(params).encode())


def check(root: Path, params: Params) -> None:
    """Raise `InvalidInput` naming the first difference between ``dvc.yaml`` and what ``params.yaml`` asks for."""
    difference = next(_differences("", build(params), read_yaml(root / DVC)), None)
    if difference:
        raise InvalidInput(f"{DVC}: {difference}; run `make graph` so that it agrees with {PARAMS}")


def use(root: Path, study: str) -> Params:
    """Write ``params.yaml`` and ``dvc.yaml`` for the named study; nothing is written if it is not valid."""
    folder = root / STUDIES
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if study not in known:
        raise InvalidInput(f"study: {study!r} is not one of {', '.join(known)} (files of {STUDIES}/)")
    overlay = (folder / f"{study}.yaml").read_text(encoding="utf-8")
    current = (root / PARAMS).read_text(encoding="utf-8")
    changed = _replace_section(current, "study", overlay)
    params = parse(parse_yaml(changed, PARAMS))
    content = text(params).encode()
    write_file(Layout(root), root / PARAMS, changed.encode())
    write_file(Layout(root), root / DVC, content)
    return params


def _replace_section(content: str, section: str, replacement: str) -> str:
    """``content`` with one top-level section replaced: comments elsewhere stay, which a YAML dump would lose."""
    lines = content.splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if line.startswith(f"{section}:")]
    if len(starts) != 1:
        raise InvalidInput(f"{PARAMS}: expected one section {section!r}, found {len(starts)}")
    end = starts[0] + 1
    while end < len(lines) and lines[end][:1] in (" ", "-"):
        end += 1
    kept = [line for line in replacement.splitlines(keepends=True) if not line.startswith("#")]
    return "".join([*lines[: starts[0]], *kept, *lines[end:]])


def _stage(stage: Stage, params: Params) -> dict[str, Any]:
    matrix = {key: f"${{study.{key}s}}" for key in stage.per}
    keys = {key: f"${{item.{key}}}" for key in stage.per}
    options = "".join(f" --{key} {value}" for key, value in keys.items())
    section: dict[str, Any] = {}
    if matrix:
        section["matrix"] = matrix
    section["cmd"] = f"python -m stages {stage.name}{options}"
    deps = [LOCK] if stage.needs_lock else []
    corpora = [keys[DATASET]] if DATASET in keys else list(params.study.datasets)
    deps += [f"{CORPORA}/{dataset}" for dataset in corpora] if stage.reads_texts else []
    deps += [path for schema in stage.reads for path in _paths(schema, stage, keys, params)]
    if deps:
        section["deps"] = deps
    wanted = [stage.section] if stage.section else []
    wanted += ["search.k"] if stage.needs_cutoffs else []
    wanted += [f"models.{keys[MODEL]}"] if stage.needs_model else []
    wanted += [f"datasets.{keys[DATASET]}"] if stage.needs_dataset else []
    wanted += [] if stage.per else ["study"]
    section["params"] = [{CODE: [stage.name]}, *wanted]
    # persist: DVC would delete the earlier artifact before the stage runs; a commit replaces it in one step.
    outs: list[Any] = []
    if stage.writes_texts:
        outs.append({f"{CORPORA}/{keys[DATASET]}": {"cache": False, "persist": True, "push": False}})
    outs += [
        {path: {"persist": True} if schema.kept else {"cache": False, "persist": True}}
        for schema in stage.writes
        for path in _paths(schema, stage, keys, params)
    ]
    outs += [{path: {"cache": False, "persist": True}} for path in stage.files]
    if outs:
        section["outs"] = outs
    if stage.metrics:
        section["metrics"] = [{path: {"cache": False, "persist": True}} for path in stage.metrics]
    return section


def _paths(schema: Schema, stage: Stage, keys: dict[str, str], params: Params) -> Iterator[str]:
    """Paths of an artifact for one run of a stage: its own cell's, or every cell's for a stage of the study."""
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


def run(root: Path, *, only_check: bool, study: str | None) -> None:
    """The command behind ``make graph`` and ``make study``."""
    if only_check:
        check(root, load(root))
    elif study is not None:
        params = use(root, study)
        print(f"study {params.study.name}: {len(list(params.study.cells()))} cells; run `dvc repro`")
    else:
        write(root, load(root))
