"""Where outputs of DVC's lock file are to be had: in the workspace, in the cache, in a remote.

Nothing large is read: a folder is known by the number and the sizes of its files and by the document at its root, which
lists the checksums of all others; `lake verify` proves the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from store.errors import BitlakeError
from store.revisions.cache import left_behind
from store.revisions.objects import parse_manifest
from store.revisions.revision import Revision, open_revision, remote_locations

PLACES = LOCAL, CACHE, REMOTE = "local", "cache", "remote"

DOCUMENT = "zarr.json"
"""The root document of a leaf."""

_FOLDER = ".dir"


@dataclass(frozen=True)
class Locked:
    """An output as the lock file has it; ``files`` is None for a file, ``kept`` is whether DVC caches it."""

    path: str
    oid: str
    size: int
    files: int | None
    kept: bool


@dataclass(frozen=True)
class Found:
    """Places of each output by its path; ``other`` are outputs of which the workspace has something else.

    ``notes`` say, a line each, which places could not be asked, and what an interrupted pull left.
    """

    places: Mapping[str, tuple[str, ...]]
    other: frozenset[str]
    notes: tuple[str, ...]


def in_workspace(root: Path, outputs: Iterable[Locked]) -> Found:
    """Look in the workspace alone."""
    return _found(root, list(outputs), {}, set(), ())


def everywhere(root: Path, outputs: Iterable[Locked]) -> Found:
    """Look in the workspace, the cache and the default remote; one that cannot be reached is a note."""
    wanted = list(outputs)
    revision = open_revision(str(root))
    with revision.repo:
        cached = {}
        for output in wanted:
            if output.kept and (names := _cached(revision, output.oid)) is not None:
                cached[output.path] = names
        try:
            there = _in_remote(revision, {output.oid for output in wanted if output.kept})
            notes: tuple[str, ...] = ()
        except BitlakeError as error:
            there, notes = set(), (str(error),)
    return _found(root, wanted, cached, there, notes)


def _found(
    root: Path,
    outputs: list[Locked],
    cached: Mapping[str, Mapping[str, str]],
    there: set[str],
    notes: tuple[str, ...],
) -> Found:
    places: dict[str, tuple[str, ...]] = {}
    other = set()
    for output in outputs:
        path = root / output.path
        here = _is_here(path, output, cached.get(output.path, {}))
        if not here and path.exists():
            other.add(output.path)
        asked = ((LOCAL, here), (CACHE, output.path in cached), (REMOTE, output.kept and output.oid in there))
        places[output.path] = tuple(place for place, holds in asked if holds)
    left = [path for output in outputs for path in left_behind(root / output.path) if output.files]
    names = [path.relative_to(root) for path in left]
    notes += tuple(
        f"{name}: is left by an interrupted `dvc pull`; run `rm {name}`, then pull again" for name in names
    )
    return Found(places, frozenset(other), notes)


def _is_here(path: Path, output: Locked, listed: Mapping[str, str]) -> bool:
    if output.files is None:
        return path.is_file() and _md5(path) == output.oid
    sizes = [
        os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names
    ]
    if (len(sizes), sum(sizes)) != (output.files, output.size):
        return False
    return DOCUMENT not in listed or _md5(path / DOCUMENT) == listed[DOCUMENT]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _cached(revision: Revision, oid: str) -> Mapping[str, str] | None:
    """MD5 by name of the files of an object that the cache has whole; None where it has not."""
    cache = revision.repo.cache.local
    try:
        content = Path(cache.oid_to_path(oid)).read_bytes()
    except FileNotFoundError:
        return None
    if not oid.endswith(_FOLDER):
        return {}
    try:
        files = parse_manifest(content, oid)
    except BitlakeError:
        return None
    return files if all(os.path.exists(cache.oid_to_path(md5)) for md5 in files.values()) else None


def _in_remote(revision: Revision, oids: set[str]) -> set[str]:
    """Objects that the default remote has. DVC sends the list of a folder's files after the files."""
    found: set[str] = set()
    for location in remote_locations(revision.repo, None):
        found |= location.holding(oids)
    return found
