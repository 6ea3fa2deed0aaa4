"""What a lake holds: every artifact of a revision, where it is, what made it, and since when."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.artifacts.schemas import SCHEMAS
from store.errors import BitlakeError, InvalidInput
from store.layout import LAKE
from store.leaf.reading import Leaf, open_leaf
from store.leaf.source import Folder, Source
from store.revisions.lock import LOCK
from store.revisions.revision import Output, Revision

if TYPE_CHECKING:
    from dvc.stage import Stage

CODE = "code.yaml"
"""The file with a digest of the code of each stage."""

LOCAL, CACHED, REMOTE, MISSING = "local", "cached", "remote", "missing"


@dataclass(frozen=True)
class Entry:
    """One artifact of a revision.

    Attributes:
        path: of the leaf below the lake, such as ``embeddings/all-MiniLM-L6-v2/scipy-api``.
        dims: size of each dimension; empty where the artifact cannot be had, as is ``dtypes``.
        size: in bytes, as stored.
        state: where it is found first: ``local`` (in the workspace), ``cached``, ``remote`` or ``missing``.
        kept: whether DVC caches and pushes it; what is not is recomputed.
        stage: that made it, and ``params``, the values it depended on.
        commit: abbreviated, the first whose lock file has this content; empty where none has yet.
    """

    path: str
    dims: Mapping[str, int]
    dtypes: tuple[str, ...]
    size: int
    state: str
    kept: bool
    md5: str
    stage: str
    params: Mapping[str, Any]
    commit: str

    def as_json(self) -> dict[str, Any]:
        """The entry as plain JSON values."""
        return {**asdict(self), "dtypes": list(self.dtypes)}


@dataclass(frozen=True)
class Made:
    """A step of a lineage: what was made, by which stage, with which parameters, from what."""

    path: str
    stage: str
    md5: str
    params: Mapping[str, Any]
    inputs: tuple[Made, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """The step and what it was made from as plain JSON values."""
        return {**asdict(self), "inputs": [made.as_json() for made in self.inputs]}


def catalog(revision: Revision) -> list[Entry]:
    """Every artifact of the revision, in the order of paths."""
    stages = _stages_by_output(revision)
    introduced = _introduced(revision)
    entries = []
    for path, output in sorted(revision.outputs.items()):
        state, source = _find(revision, output)
        dims, dtypes = _shape(path, source)
        stage = stages[path]
        entries.append(
            Entry(
                path=path.removeprefix(f"{LAKE}/"),
                dims=dims,
                dtypes=dtypes,
                size=output.size,
                state=state,
                kept=output.kept,
                md5=output.oid,
                stage=stage.name,
                params=_params(stage),
                commit=introduced.get(output.oid, ""),
            )
        )
    return entries


def open_artifact(revision: Revision, path: str) -> Leaf:
    """The leaf at ``path`` below the lake, from the workspace if it is there and the revision is the workspace's."""
    full = f"{LAKE}/{path.strip('/').removeprefix(f'{LAKE}/')}"
    output = revision.outputs.get(full)
    if output is None:
        known = sorted({name.split("/")[1] for name in revision.outputs})
        raise InvalidInput(
            f"artifact: {path!r} is not in {revision.label}; `lake ls` lists them ({', '.join(known)})"
        )
    _, source = _find(revision, output)
    return open_leaf(source if source is not None else revision.source(full), SCHEMAS[full.split("/")[1]])


def lineage(revision: Revision, path: str) -> Made:
    """How the artifact at ``path`` below the lake came about, back to the texts."""
    stages = _stages_by_output(revision)

    def trace(at: str) -> Made:
        stage = stages[at]
        # The digests of the code stand among the parameters.
        inputs = sorted({str(dep.def_path).lstrip("/") for dep in stage.deps} & (stages.keys() - {CODE}))
        out = next(out for out in stage.outs if out.def_path == at)
        return Made(
            at, stage.name, str(out.hash_info.value), _params(stage), tuple(trace(name) for name in inputs)
        )

    return trace(f"{LAKE}/{path.strip('/').removeprefix(f'{LAKE}/')}")


def _stages_by_output(revision: Revision) -> dict[str, Stage]:
    return {out.def_path.lstrip("/"): out.stage for out in revision.repo.index.outs}


def _params(stage: Stage) -> dict[str, Any]:
    """Values of the parameters a stage was last run with; the digests of its code stand under ``code``."""
    values: dict[str, Any] = {}
    for dependency in stage.params:
        found = dependency.hash_info.value if dependency.hash_info else {}
        if Path(dependency.fs_path).name == CODE:
            values["code"] = next(iter(found.values()), "")
        else:
            values.update(found)
    return values


def _find(revision: Revision, output: Output) -> tuple[str, Source | None]:
    """Where an output is found first, and its files there."""
    if revision.rev is None:
        folder = revision.root / output.path
        if (folder / "zarr.json").is_file():
            return LOCAL, Folder(folder)
    if not output.kept:
        return MISSING, None
    try:
        source = revision.source(output.path)
        _ = source.read("zarr.json")
    except BitlakeError:
        return MISSING, None
    return (CACHED if revision.objects.is_cached(output.oid) else REMOTE), source


def _shape(path: str, source: Source | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Sizes of the dimensions of a leaf, and its dtypes; both empty where it cannot be opened."""
    if source is None:
        return {}, ()
    try:
        leaf = open_leaf(source, SCHEMAS[path.split("/")[1]])
    except (BitlakeError, KeyError):
        return {}, ()
    dims: dict[str, int] = {}
    for name, files in leaf.arrays.items():
        # Groups of one leaf may differ in a dimension (the bytes of a code): the largest says how far it goes.
        for dimension, size in zip(leaf.schema.field_of(name).dims, files.shape, strict=True):
            dims[dimension] = max(size, dims.get(dimension, 0))
    declared = (leaf.schema.field_of(name) for name in leaf.paths)
    return dims, tuple(dict.fromkeys(found.dtype for found in declared if not found.coordinate))


def _introduced(revision: Revision) -> dict[str, str]:
    """For each MD5 in the lock file's history the first commit that has it, by one walk through the history."""
    folder = Path(revision.url)
    if not folder.is_dir():
        return {}
    command = ["git", "log", "--reverse", "--format=commit %h", "--patch", "--unified=0"]
    done = subprocess.run(
        [*command, revision.rev or "HEAD", "--", LOCK],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    first: dict[str, str] = {}
    for commit, digest in _added(done.stdout.splitlines()):
        first.setdefault(digest, commit)
    return first


def _added(lines: list[str]) -> Iterator[tuple[str, str]]:
    commit = ""
    for line in lines:
        if line.startswith("commit "):
            commit = line.removeprefix("commit ")
        elif added := re.match(r"\+\s+md5: (\S+)", line):
            yield commit, added[1]
