"""Freeing DVC's cache of what no revision uses.

DVC takes for used what the stages of each `dvc.yaml` name, which it has to understand for every revision. Here each MD5
in a lock file counts, of whatever study, layout or unfinished merge, and what DVC finds for the workspace besides.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import InvalidInput, UnavailableResource, first_line
from store.layout import LAKE
from store.revisions.lock import LOCK, locked_stages, promised
from store.revisions.project import GRAPH, git, git_blobs, project_root
from store.revisions.revision import open_revision, remote_locations

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

_FOLDER = ".dir"
_WORKSPACE = "the workspace"
_SECTION = re.compile(rb" {4}(\w+):")
_PATH = re.compile(rb" {4}- path: (.+)")
_NAMED = re.compile(rb"\s*-?\s+md5: ['\"]?([0-9a-f]{32}(?:\.dir)?)\b")
_OUTPUT = re.compile(rb"^ *- (\S+):\n((?: +(?:cache|persist|push|desc): .*\n?)*)", re.MULTILINE)
_RECOMPUTED = re.compile(rb"(?:cache|push): false")
"""Settings of outputs that no remote has, since `dvc repro` makes them again."""


@dataclass(frozen=True)
class Garbage:
    """Objects of the cache that nothing uses, their size in bytes, whether they are gone, and ``notes`` for people."""

    objects: int
    size: int
    removed: bool
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What was found as plain JSON values."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class _Named:
    """An output that a revision names: ``kept`` where it is cached and pushed, ``essential`` where the revision is a
    tag, a branch or an experiment."""

    path: str
    rev: str
    kept: bool
    essential: bool


def collect_garbage(
    root: Path,
    *,
    remove: bool = False,
    all_commits: bool = False,
    projects: Sequence[Path] = (),
    alone: bool = False,
) -> Garbage:
    """Find the objects that neither the workspace nor any tag, branch or experiment uses, and ``remove`` them if asked.

    The workspace uses what its lock file names, whichever study that is of. With ``all_commits`` whatever any commit
    uses stays as well, and what ``projects`` use, other projects with the same cache. A cache outside the project may
    have such users, so that it takes ``projects``, or ``alone`` where there is none. Remotes are left alone.

    Raises `InvalidInput` where it cannot be known what a revision uses; then nothing is removed.
    """
    from dvc.exceptions import DvcException

    root = project_root(root)
    repo = open_revision(str(root)).repo
    cache = repo.cache.local
    _check_shared(root, Path(cache.path), projects, alone=alone)
    roots = list(dict.fromkeys([root, *map(project_root, projects)]))
    notes: list[str] = []
    used: set[str] = set()
    try:
        with contextlib.ExitStack() as stack:
            for each in roots:
                other = repo if each == root else open_revision(str(each)).repo
                stack.enter_context(other.lock)
                _check_lock(each, any(Path(cache.path).glob("*/*")))
                used |= _used(other, each, cache, notes, all_commits=all_commits)
            unused = [cache.oid_to_path(oid) for oid in cache.all() if oid not in used]
            size = sum(os.path.getsize(path) for path in unused)
            if remove and unused:
                # Lists of files first: without its list nothing is taken for whole.
                cache.fs.remove(sorted(unused, key=lambda path: not path.endswith(_FOLDER)))
    except (DvcException, OSError) as error:
        raise UnavailableResource(
            f"the cache: {first_line(error)}; nothing else was removed, run it again when that is settled"
        ) from None
    return Garbage(len(unused), size, remove and bool(unused), tuple(notes))


def _check_shared(root: Path, cache: Path, projects: Sequence[Path], *, alone: bool) -> None:
    """Refuse to judge alone what others may use."""
    if alone or projects or cache.resolve().is_relative_to(root.resolve()):
        return
    raise InvalidInput(
        f"the cache: {cache} lies outside the project, and other projects may keep their objects there; name each of "
        "them with --project ROOT, or say --only-this-project if there is none"
    )


def _check_lock(root: Path, filled: bool) -> None:
    """Refuse where the workspace has artifacts that its lock file does not, or where nothing is locked."""
    graph, stages = promised(root), locked_stages(root)
    for name, outputs in graph.items():
        if name in stages:
            continue
        for path in outputs:
            if path.startswith(f"{LAKE}/") and (root / path / "zarr.json").is_file():
                raise InvalidInput(
                    f"{root / LOCK}: does not have stage {name}, although {path} is here, so what it uses is unknown; "
                    f"run `dvc repro`, or `git checkout {LOCK}` if it was cut short"
                )
    if graph and not stages and filled:
        raise InvalidInput(
            f"{root / LOCK}: names nothing of what {GRAPH} promises, so everything in the cache would be taken for "
            f"unused; run `git checkout {LOCK}` or `dvc repro`"
        )


def _used(repo: Repo, root: Path, cache: HashFileDB, notes: list[str], *, all_commits: bool) -> set[str]:
    """Every object that a project uses, with the files of its folders."""
    from dvc.scm import iter_revs

    head = git(root, "rev-list", "--max-count=1", "--all", "HEAD")
    heads = list(iter_revs(repo.scm, all_tags=True, all_branches=True, all_experiments=True))
    commits = git(root, "rev-list", "--all", "HEAD", "--").split() if all_commits else []
    named: dict[str, _Named] = {}
    _name(named, _read(root / LOCK), _read(root / GRAPH), _WORKSPACE, essential=False)
    for aside, its_graph in _set_aside(root):
        _name(named, aside, its_graph, _WORKSPACE, essential=False)
    for revs, essential in (([*heads, "HEAD"] if head else heads, True), (commits, False)):
        texts = git_blobs(root, [f"{rev}:./{name}" for rev in revs for name in (LOCK, GRAPH)])
        for rev, lock, graph in zip(revs, texts[::2], texts[1::2], strict=True):
            _name(named, lock or b"", graph or b"", rev, essential=essential)
    with _silent():
        infos = {info for found in repo.used_objs().values() for info in found}
    used = {*named, *(str(info.value) for info in infos), *_imported(root)}
    lost = []
    for oid, files in _lists(repo, root, cache, sorted(oid for oid in used if oid.endswith(_FOLDER))):
        used.update(files or ())
        if files is None and oid in named and named[oid].kept:
            lost.append(named[oid])
    for output in lost:
        if output.essential:
            raise InvalidInput(
                f"{output.path} of {output.rev[:7]}: its list of files is in neither the cache nor the remote, so what "
                "it uses is unknown; push it from where it was made, or remove the branch or tag that has this commit"
            )
    if forgotten := [output for output in lost if output.rev != _WORKSPACE]:
        notes.append(
            f"{len(forgotten)} artifacts of commits without a tag or branch can no longer be restored: their lists of "
            "files are in neither the cache nor the remote, so they keep nothing"
        )
    return used


def _set_aside(root: Path) -> Iterator[tuple[bytes, bytes]]:
    """Lock files and graphs that no branch or tag has: staged, stashed, or checked out in other work trees."""
    stashed = git(root, "stash", "list", "--format=%H").split()
    texts = git_blobs(root, [f"{rev}:./{name}" for rev in ("", *stashed) for name in (LOCK, GRAPH)])
    yield from ((lock or b"", graph or b"") for lock, graph in zip(texts[::2], texts[1::2], strict=True))
    inside = root.resolve().relative_to(Path(git(root, "rev-parse", "--show-toplevel")).resolve())
    for line in git(root, "worktree", "list", "--porcelain").splitlines():
        if line.startswith("worktree "):
            place = Path(line.removeprefix("worktree ")) / inside
            yield _read(place / LOCK), _read(place / GRAPH)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _name(named: dict[str, _Named], lock: bytes, graph: bytes, rev: str, *, essential: bool) -> None:
    """Add what a lock file names as outputs; read line by line, so that one that was cut short or merged counts too."""
    recomputed = {_family(match[1]) for match in _OUTPUT.finditer(graph) if _RECOMPUTED.search(match[2])}
    path, outputs = b"", False
    for line in lock.splitlines():
        if section := _SECTION.match(line):
            outputs = section[1] == b"outs"
        elif found := _PATH.match(line):
            path = found[1]
        elif outputs and (found := _NAMED.match(line)):
            oid = found[1].decode()
            kept = _family(path) not in recomputed
            before = named.get(oid)
            if before is None or (kept and not before.kept) or (essential and not before.essential):
                named[oid] = _Named(path.decode("utf-8", "replace"), rev, kept=kept, essential=essential)


def _family(path: bytes) -> bytes:
    """What the outputs of a stage have in common; in what follows cells differ, and `dvc.yaml` has templates."""
    parts = path.split(b"/")
    return b"/".join(parts[: 2 if parts[0] == LAKE.encode() else 1])


def _imported(root: Path) -> Iterator[str]:
    """What `.dvc` files name, those of the workspace (which DVC finds) and of any commit."""
    listed = git(root, "rev-list", "--objects", "--all").splitlines()
    digests = [line.partition(" ")[0] for line in listed if line.endswith(".dvc")]
    for content in git_blobs(root, digests) if digests else ():
        for line in (content or b"").splitlines():
            if found := _NAMED.match(line):
                yield found[1].decode()


def _lists(
    repo: Repo, root: Path, cache: HashFileDB, oids: Sequence[str]
) -> Iterator[tuple[str, set[str] | None]]:
    """The files of each folder: as the cache has it, as a remote in the repository had it at any commit, or as the
    default remote has it; None where none has."""
    away = []
    for oid in oids:
        path = Path(cache.oid_to_path(oid))
        files = _files(path.read_bytes(), oid) if path.is_file() else None
        if files is None:
            away.append(oid)
        else:
            yield oid, files
    if not away:
        return
    committed = _committed(root, away)
    for oid in list(away):
        if (files := _files(committed.get(oid, b""), oid)) is not None:
            _keep(Path(cache.oid_to_path(oid)), committed[oid])
            away.remove(oid)
            yield oid, files
    for location in remote_locations(repo, None):
        there = location.holding(away)
        for oid in list(away):
            if oid in there and (files := _files(content := location.read(oid), oid)) is not None:
                _keep(Path(cache.oid_to_path(oid)), content)
                away.remove(oid)
                yield oid, files
    yield from ((oid, None) for oid in away)


def _files(content: bytes, oid: str) -> set[str] | None:
    """Objects that a list names; None where it is not that list."""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != oid.removesuffix(_FOLDER):
        return None
    try:
        return {str(entry["md5"]) for entry in json.loads(content)}
    except (ValueError, TypeError, KeyError):
        return None


def _committed(root: Path, oids: Sequence[str]) -> dict[str, bytes]:
    """Lists of files that Git has, at any commit, as a remote in the repository keeps them."""
    wanted = {f"{oid[:2]}/{oid[2:]}": oid for oid in oids}
    listed = git(root, "rev-list", "--objects", "--all").splitlines()
    found = {}
    for line in listed:
        digest, _, path = line.partition(" ")
        oid = wanted.get("/".join(path.split("/")[-2:]))
        if oid is not None:
            found[oid] = digest
    contents = git_blobs(root, list(found.values())) if found else []
    return {oid: content for oid, content in zip(found, contents, strict=True) if content is not None}


def _keep(path: Path, content: bytes) -> None:
    """Put a list into the cache, so that its revision can be restored without asking again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing of what DVC warns of: a line for each output that was never computed, which keeps nothing."""
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
