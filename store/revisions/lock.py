"""DVC's lock file, which says what the workspace consists of, and whether all of it is there.

DVC writes it in place, so that a process that is killed leaves the beginning of it, often valid YAML. What was lost
then reads as never computed: commands would recompute it, and garbage collection would remove it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from store.errors import InvalidInput
from store.layout import LAKE
from store.revisions.project import GRAPH, git_blob
from store.yaml_files import parse_yaml

LOCK = "dvc.lock"
PARAMS = "params.yaml"

MOST_RUNS = 100_000
"""Upper bound of the cells of a stage: lists of some kilobytes reach billions together."""

_TEMPLATE = re.compile(r"\$\{([\w.-]+)\}")
_DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
_COMMITTED = ((f":./{LOCK}", f"git checkout {LOCK}"), (f"HEAD:./{LOCK}", f"git checkout HEAD {LOCK}"))
"""Where Git has the lock file, the index before the last commit, and what brings it back from there."""


def locked_stages(root: Path) -> Mapping[str, Any]:
    """What the workspace's lock file says of each stage that was ever run; nothing where none was.

    Raises `InvalidInput` where the file is cut short, absent or in conflict, with the command that restores it.
    """
    file = root / LOCK
    text = file.read_bytes() if file.is_file() else b""
    committed = git_blob(root, _COMMITTED[0][0])
    if text and text == committed and text == git_blob(root, _COMMITTED[1][0]):
        return stages_of(text)
    if b"\n<<<<<<< " in b"\n" + text:
        raise InvalidInput(
            f"{LOCK}: holds both sides of a merge; run `git checkout --theirs {LOCK}` or `git checkout --ours {LOCK}`, "
            "then `dvc repro`"
        )
    problem, stages = _read(text)
    if not text:
        problem = "is empty" if file.exists() else "is not there"
    graph = promised(root)
    if not problem and stages:
        last = next(reversed(list(stages)))
        if "outs" not in stages[last] and graph.get(last):
            problem = f"is cut short, at stage {last}"
    for name, remedy in _COMMITTED:
        whole = git_blob(root, name)
        if not whole or _read(whole)[0]:
            continue
        if lost := problem or _lost(graph, stages, stages_of(whole)):
            raise InvalidInput(f"{LOCK}: {lost}; run `{remedy}`")
    if problem and (text or any((root / LAKE).rglob("c.*"))):
        again = "remove it, then run" if text else "run"
        raise InvalidInput(f"{LOCK}: {problem}, and Git does not have all of it; {again} `dvc repro`")
    return stages


def stages_of(content: bytes) -> Mapping[str, Any]:
    """The entries of a lock file by the name of the stage. Raises `InvalidInput` where it is none."""
    found = parse_yaml(content, LOCK).get("stages")
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise InvalidInput(f"{LOCK}: has no stages; run `git checkout {LOCK}`, or `dvc repro`")
    return found


def promised(root: Path) -> dict[str, tuple[str, ...]]:
    """Outputs of the stages in ``dvc.yaml`` by the stage's full name, those of its matrices and lists too.

    Nothing where there is no such file. What only DVC can work out, such as a template within a word, is left out.
    """
    graph = root / GRAPH
    if not graph.is_file():
        return {}
    stages = parse_yaml(graph.read_bytes(), GRAPH).get("stages")
    if not isinstance(stages, dict):
        return {}
    file = root / PARAMS
    check_graph(
        graph.read_bytes(), lambda name: (root / name).read_bytes() if (root / name).is_file() else b""
    )
    values = parse_yaml(file.read_bytes(), PARAMS) if file.is_file() else {}
    found = {}
    for stage, body in stages.items():
        if not isinstance(body, dict):
            continue
        do = body.get("do", body)
        outputs = [next(iter(out), "") if isinstance(out, dict) else str(out) for out in do.get("outs") or ()]
        for suffix, item in _runs(body, values):
            name = f"{stage}@{suffix}" if suffix else str(stage)
            found[name] = tuple(_filled(path, item) for path in outputs)
    return found


def check_aliases(text: bytes, name: str) -> None:
    """Raise `InvalidInput` for YAML whose nested anchors take memory without end."""
    if b"&" in text and b"*" in text:
        parse_yaml(text, name)


def check_graph(graph: bytes, read: Callable[[str], bytes]) -> None:
    """Raise `InvalidInput` where a ``dvc.yaml`` would take DVC, which trusts it, memory without end.

    ``read`` gives the files beside it that its templates take values from; nothing for those that are not there.
    """
    content = parse_yaml(graph, GRAPH)
    stages, given = content.get("stages"), content.get("vars")
    files = [str(name).partition(":")[0] for name in given or () if isinstance(name, str)]
    for name in (PARAMS, *files):
        check_aliases(read(name), name)
    values = read(PARAMS)
    parameters = parse_yaml(values, PARAMS) if values.strip() else {}
    for name, body in stages.items() if isinstance(stages, dict) else ():
        matrix = body.get("matrix") if isinstance(body, dict) else None
        lists = (
            [_resolved(value, parameters) for value in matrix.values()] if isinstance(matrix, dict) else []
        )
        if math.prod(len(found) for found in lists if isinstance(found, list)) > MOST_RUNS:
            raise InvalidInput(
                f"{GRAPH}: stage {name} would run more than {MOST_RUNS:,} times; shorten its matrix, or do not use "
                "this repository"
            )


def _runs(body: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What follows the ``@`` in the name of each run of a stage, and what its templates call ``item``."""
    if isinstance(matrix := body.get("matrix"), dict):
        lists = [_resolved(value, values) for value in matrix.values()]
        if all(isinstance(found, list) for found in lists):
            for of in itertools.product(*lists):
                yield "-".join(map(str, of)), dict(zip(matrix, of, strict=True))
    elif "foreach" in body:
        items = _resolved(body["foreach"], values)
        if isinstance(items, dict):
            yield from ((str(key), item) for key, item in items.items())
        elif isinstance(items, list):
            numbered = any(isinstance(item, list | dict) for item in items)
            yield from ((str(at if numbered else item), item) for at, item in enumerate(items))
    else:
        yield "", {}


def _filled(path: str, item: Any) -> str:
    if isinstance(item, dict):
        for key, value in item.items():
            path = path.replace(f"${{item.{key}}}", str(value))
        return path
    return path.replace("${item}", str(item))


def _resolved(value: Any, values: Any) -> Any:
    """What a template that is nothing else, ``${study.models}``, stands for; None where that is not there."""
    if not isinstance(value, str):
        return value
    if not (template := _TEMPLATE.fullmatch(value)):
        return None
    for part in template[1].split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _read(text: bytes) -> tuple[str, Mapping[str, Any]]:
    """What shows that a lock file is not whole, empty where nothing does, and its entries."""
    if not text.strip():
        return "is empty", {}
    try:
        stages = stages_of(text)
    except InvalidInput as error:
        return str(error).removeprefix(f"{LOCK}: ").removeprefix(LOCK).partition("; ")[0].strip(), {}
    if not text.endswith(b"\n"):
        return "is cut short, in the middle of a line", stages
    for name, entry in stages.items():
        if "cmd" not in entry or any(_is_cut(out) for out in entry.get("outs") or ()):
            return f"is cut short, at stage {name}", stages
    return "", stages


def _is_cut(out: Any) -> bool:
    """Whether DVC would have written more of an output."""
    if not isinstance(out, dict) or "path" not in out:
        return True
    if not out.keys() & {"md5", "etag", "checksum"}:
        return True
    if "md5" in out and not (isinstance(out["md5"], str) and _DIGEST.fullmatch(out["md5"])):
        return True
    return "md5" in out and ("size" not in out or (out["md5"].endswith(".dir") and "nfiles" not in out))


def _lost(wanted: Mapping[str, Any], stages: Mapping[str, Any], committed: Mapping[str, Any]) -> str:
    """What a committed lock file has and the workspace's has lost; not what was removed with its stage."""
    lost = [name for name in committed if name not in stages and name in wanted]
    lost += [
        name
        for name, entry in committed.items()
        if name in stages and name in wanted and entry.get("outs") and not stages[name].get("outs")
    ]
    if not lost:
        return ""
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"has lost stage {lost[0]}{more}, which the committed one has"
