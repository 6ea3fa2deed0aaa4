"""Whether the lake is what DVC's lock file says: every file is read and proved, and each fault is named.

A workspace is compared with ``dvc.lock`` and with what each leaf lists of itself. A revision is read object by object
from where its readers would get it, or from one remote alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from store.artifacts.schemas import SCHEMAS
from store.errors import BitlakeError, DamagedArtifact, MissingArtifact
from store.layout import LAKE, Layout
from store.leaf.arrays.shard import stored_checksums
from store.leaf.reading import Leaf, open_leaf
from store.leaf.source import Folder, Source
from store.leaf.workspace import Workspace
from store.revisions.cache import Cache, left_behind
from store.revisions.lock import LOCK, locked_stages
from store.revisions.objects import ObjectFiles, Objects, parse_manifest
from store.revisions.provenance import disagreeing, forced, mismatches, steps
from store.revisions.revision import Output, Revision, open_revision, remote_locations
from store.threads import overlapped

READERS = 4
"""Objects of a revision that are read at the same time; each is held whole, at most one shard (`store.leaf.schema`)."""

GROUP = {"attributes": {}, "node_type": "group", "zarr_format": 3}
"""The document of a group above the leaves."""


@dataclass(frozen=True)
class Finding:
    """Something worth saying about an artifact, or about one ``file`` of it, and what to do about it."""

    artifact: str
    file: str
    problem: str
    remedy: str

    @property
    def line(self) -> str:
        """The finding as one line."""
        where = f"{self.artifact}/{self.file}" if self.file else self.artifact
        return f"{where}: {self.problem}; {self.remedy}" if self.remedy else f"{where}: {self.problem}"

    def as_json(self) -> dict[str, str]:
        """The finding as plain JSON values."""
        return {"artifact": self.artifact, "file": self.file, "problem": self.problem, "remedy": self.remedy}


@dataclass(frozen=True)
class Verification:
    """What was found: faults make the lake unfit, warnings do not, notes explain what was not looked at.

    ``checked`` counts artifacts, files, bytes and chunk files.
    """

    faults: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    checked: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """The verification as plain JSON values."""
        kinds = {"faults": self.faults, "warnings": self.warnings, "notes": self.notes}
        return {
            **{kind: [finding.as_json() for finding in found] for kind, found in kinds.items()},
            "checked": dict(self.checked),
        }


@dataclass
class _Found:
    """Findings as they are made."""

    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def fault(self, artifact: str, file: str, problem: str, remedy: str) -> None:
        self.faults.append(Finding(artifact, file, problem, remedy))

    def count(self, size: int, *, chunk: bool) -> None:
        self.checked.update(files=1, bytes=size, chunks=int(chunk))

    def finish(self) -> Verification:
        counts = {name: self.checked[name] for name in ("artifacts", "files", "chunks", "bytes")}
        return Verification(tuple(self.faults), tuple(self.warnings), tuple(self.notes), counts)


Claims = Callable[[Iterable[str]], tuple[str, str]]
"""For outputs that no stage of ``dvc.yaml`` makes: whose they are, and what brings them back; each may be empty."""


def verify(
    repo: str,
    rev: str | None = None,
    remote: str | None = None,
    *,
    claims: Claims = lambda _: ("", ""),
) -> Verification:
    """Verify the workspace of the project at ``repo``; with ``rev`` or ``remote`` a revision's objects.

    A revision without ``remote`` is read from DVC's cache, else from the default remote; with it from that remote
    only. ``claims`` is asked about what no stage makes. Raises what `open_revision` raises, and `UnavailableResource`
    where a remote stops answering.
    """
    revision = open_revision(repo, rev, remote)
    with revision.repo:
        if rev is None and remote is None and Path(revision.url).is_dir():
            return _verify_workspace(revision, claims)
        if remote is None:
            return _verify_objects(revision, revision.objects)
        there = tuple(remote_locations(revision.repo, remote))
        return _verify_objects(revision, replace(revision.objects, locations=there))


def _verify_workspace(revision: Revision, claims: Claims) -> Verification:
    """Memory is bounded by one chunk file."""
    found = _Found()
    _check_outputs(found, revision, "run `dvc repro`")
    _check_parents(
        found,
        revision.outputs,
        lambda name: (revision.root / name).read_bytes(),
        lambda name: f"run `git checkout -- {name}`",
    )
    leaves: dict[str, Leaf] = {}
    for path, output in sorted(revision.outputs.items()):
        damaged = _damaged_objects(revision, output)
        for name, oid in damaged.items():
            place = Cache.of(revision.repo).path(oid)
            found.fault(path, name, f"its object {oid} in the cache is damaged ({place})", _REPAIR)
        again = _REPAIR if damaged else _again(output)
        if Folder(revision.root / path).names:
            leaf = _check_folder(found, revision, output, again)
            if leaf is not None:
                leaves[path] = leaf
        elif output.kept:
            found.fault(path, "", "is not here", again)
        else:
            found.notes.append(Finding(path, "", "is not here and is not pulled", "`dvc repro` computes it"))
    for path, problem, remedy in mismatches(revision, leaves):
        found.fault(path, "", problem, remedy)
    found.warnings += _orphans(revision, claims)
    return found.finish()


_REPAIR = "run `lake verify --repair`"


def _again(output: Output) -> str:
    how = f"dvc pull {output.path}" if output.kept else "dvc repro"
    return f"remove {output.path}, then run `{how}`"


def _damaged_objects(revision: Revision, output: Output) -> dict[str, str]:
    """Objects of an output that the cache holds with other content, by the file's name; its list of files by ""."""
    if not output.kept:
        return {}
    cache = Cache.of(revision.repo)
    if cache.is_damaged(output.oid):
        return {"": output.oid}
    if not cache.path(output.oid).is_file():
        return {}
    files = _manifest(revision, output) or {}
    return {name: oid for name, oid in sorted(files.items()) if cache.is_damaged(oid)}


def _check_outputs(found: _Found, revision: Revision, remedy: str) -> None:
    """Every output of the lake is in the lock file: with the study's cells in ``dvc.yaml``, no cell is missing."""
    for out in revision.repo.index.outs:
        path = out.def_path.lstrip("/")
        if path.startswith(f"{LAKE}/") and path not in revision.outputs:
            found.fault(path, "", f"is an output of dvc.yaml that {LOCK} does not have", remedy)


def _check_parents(
    found: _Found, outputs: Iterable[str], read: Callable[[str], bytes], remedy: Callable[[str], str]
) -> None:
    """Groups above the leaves, without whose documents the lake does not open as one tree."""
    parents = {str(parent) for path in outputs for parent in Path(path).parents} - {"."}
    for parent in sorted(parents):
        name = f"{parent}/zarr.json"
        try:
            intact = json.loads(read(name)) == GROUP
        except FileNotFoundError:
            found.fault(parent, "zarr.json", "is missing", remedy(name))
        except (ValueError, OSError) as error:
            found.fault(parent, "zarr.json", f"cannot be read ({error})", remedy(name))
        else:
            if not intact:
                found.fault(parent, "zarr.json", "is not the document of a group", remedy(name))


def _check_folder(found: _Found, revision: Revision, output: Output, again: str) -> Leaf | None:
    """A leaf of the workspace against the lock file, its schema and the checksums that it lists.

    Returns it where nothing is wrong with it.
    """
    source = Folder(revision.root / output.path)
    leaf, refusal = _opened(source, output.path)
    digests, problems = {}, {}
    left = {path.relative_to(source.path).as_posix() for path in left_behind(source.path)}
    for name in sorted(source.names):
        if name in left:
            continue
        try:
            data = source.read(name)
        except (OSError, BitlakeError) as error:
            problems[name] = f"cannot be read ({error})"
            continue
        digests[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        expected = _listed(leaf, name)
        found.count(len(data), chunk=expected is not None)
        if damage := _damage(data, expected):
            problems[name] = damage
    found.checked["artifacts"] += 1
    digest = directory_digest(digests)
    if digest != output.oid:
        manifest = _manifest(revision, output) or {}
        if manifest and digests.get("zarr.json") != manifest.get("zarr.json"):
            # What the leaf lists of itself is wrong, and may speak ill of sound files.
            problems = {
                name: text for name, text in problems.items() if digests.get(name) != manifest.get(name)
            }
        for name, problem in _compare(digests, manifest):
            problems.setdefault(name, problem)
        if not problems and refusal is None:
            problems[""] = (
                f"its files are not those of {LOCK} (MD5 {digest}, expected {output.oid}), "
                "and the list of them is in neither the cache nor the remote"
            )
    for name in sorted(left):
        path = f"{output.path}/{name}"
        found.fault(
            output.path, name, "is left by an interrupted `dvc pull`", f"run `rm {path}`, then pull again"
        )
    for name, problem in sorted(problems.items()):
        found.fault(output.path, name, problem, again)
    if refusal is not None and not problems:
        # Where the lock file has it like that, pulling would bring back the same.
        if digest == output.oid:
            again = forced(steps(revision)[output.path])
        found.fault(output.path, "", refusal, again)
    return None if problems else leaf


def _opened(source: Source, path: str) -> tuple[Leaf | None, str | None]:
    """The leaf, or why it is none."""
    _, artifact, *labels = path.split("/")
    schema = SCHEMAS.get(artifact)
    if schema is None:
        return None, f"is of no artifact that this version of Bitlake knows ({', '.join(sorted(SCHEMAS))})"
    try:
        return open_leaf(source, schema, dict(zip(schema.keys, labels, strict=False))), None
    except (MissingArtifact, DamagedArtifact) as error:
        return None, _problem(error, source.label)


def _problem(error: BitlakeError, label: str) -> str:
    """What an error says is wrong, without the label before it and the remedy behind it."""
    return str(error).removeprefix(f"{label}: ").partition("; ")[0]


def _listed(leaf: Leaf | None, name: str) -> tuple[int, tuple[bytes, ...]] | None:
    """Inner chunks of the index, and the checksums that the leaf lists, of a chunk file; None for any other file."""
    array, _, file = name.rpartition("/")
    files = leaf.arrays.get(array) if leaf is not None else None
    if files is None or file not in files.checksums:
        return None
    return files.inner, files.checksums[file]


def _damage(data: bytes, expected: tuple[int, tuple[bytes, ...]] | None) -> str:
    """What is wrong with a chunk file; empty where nothing is, or where it is another file."""
    if expected is None:
        return ""
    inner, checksums = expected
    try:
        intact = stored_checksums(data, inner) == list(checksums)
    except ValueError as error:
        return f"is damaged ({error})"
    return "" if intact else "holds other chunks than the artifact lists"


def directory_digest(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder with these files, MD5 by name."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    content = json.dumps(listed, sort_keys=True).encode()
    return f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir"


def _manifest(revision: Revision, output: Output) -> dict[str, str] | None:
    """MD5 by file name, as the lock file means it; None where the list cannot be had."""
    if not output.kept:
        return None
    try:
        return revision.files(output.path)
    except BitlakeError:
        return None


def _compare(digests: Mapping[str, str], manifest: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Files that are not as the manifest lists them, if there is one."""
    for name in sorted(digests.keys() | manifest.keys()) if manifest else ():
        if name not in digests:
            yield name, "is missing"
        elif name not in manifest:
            yield name, f"is not a file of this artifact in {LOCK}"
        elif digests[name] != manifest[name]:
            yield name, f"has other content than in {LOCK} (MD5 {digests[name]}, expected {manifest[name]})"


def _orphans(revision: Revision, claims: Claims) -> Iterator[Finding]:
    """Leaves and lock entries that no stage of ``dvc.yaml`` has, which DVC keeps when a study changes."""
    named = {out.def_path.lstrip("/") for out in revision.repo.index.outs}
    workspace = Workspace(Layout(revision.root))
    for path in (path for schema in SCHEMAS.values() for path in workspace.leaves(schema)):
        if path not in named:
            whose, remedy = claims([path])
            problem = "; ".join(filter(None, ["no stage of dvc.yaml makes it", whose]))
            yield Finding(path, "", problem, remedy or f"remove it: rm -r {path}")
    stages = {stage.name for stage in revision.repo.index.stages if hasattr(stage, "name")}
    for name, entry in locked_stages(revision.root).items():
        if name not in stages:
            whose, remedy = claims(out["path"] for out in entry.get("outs", ()))
            problem = "; ".join(filter(None, [f"has stage {name}, which dvc.yaml does not have", whose]))
            yield Finding(LOCK, "", problem, "leave it" if remedy else "remove its lines")


def _verify_objects(revision: Revision, objects: Objects) -> Verification:
    """Every object of every kept output: there, with its content, and together the leaf they should be."""
    found = _Found()
    _check_outputs(found, revision, "run `dvc repro`, then commit")
    _check_parents(found, revision.outputs, revision.tracked, lambda name: f"commit {name}")
    kept = [output for _, output in sorted(revision.outputs.items()) if output.kept]
    for path, output in sorted(revision.outputs.items()):
        if not output.kept:
            found.notes.append(Finding(path, "", "is not kept with revisions", "`dvc repro` computes it"))

    def listed(output: Output) -> tuple[ObjectFiles, Leaf | None, str | None]:
        label = f"{output.path} of {revision.label}"
        try:
            files = parse_manifest(objects.read(output.oid), label)
        except (MissingArtifact, DamagedArtifact) as error:
            return (
                ObjectFiles(label, objects, {}),
                None,
                f"its list of files: {_problem(error, objects.where)}",
            )
        source = ObjectFiles(label, objects, files)
        return source, *_opened(source, output.path)

    def checked(
        task: tuple[Output, ObjectFiles, Leaf | None, str],
    ) -> tuple[Output, str, int | None, bool, str]:
        output, source, leaf, name = task
        try:
            # Past the documents that the source holds, so that each object is judged by itself.
            data = objects.read(source.files[name])
        except (MissingArtifact, DamagedArtifact) as error:
            return output, name, None, False, _problem(error, objects.where)
        expected = _listed(leaf, name)
        return output, name, len(data), expected is not None, _damage(data, expected)

    opened = list(overlapped(listed, kept, READERS))
    tasks = (
        (output, source, leaf, name)
        for output, (source, leaf, _) in zip(kept, opened, strict=True)
        for name in sorted(source.names)
    )
    again = "remove the object there if it has one, then run `lake publish` where the artifact was made"
    for output, name, size, chunk, problem in overlapped(checked, tasks, READERS):
        if size is not None:
            found.count(size, chunk=chunk)
        if problem:
            found.fault(output.path, name, problem, again)
    faulty = {fault.artifact for fault in found.faults}
    for output, (_, _, refusal) in zip(kept, opened, strict=True):
        found.checked["artifacts"] += 1
        if refusal is not None and output.path not in faulty:
            found.fault(output.path, "", refusal, again)
    sound = {
        output.path: leaf
        for output, (_, leaf, _) in zip(kept, opened, strict=True)
        if leaf is not None and output.path not in faulty
    }
    for path, problem, again in disagreeing(revision, sound):
        found.fault(path, "", problem, again)
    return found.finish()
