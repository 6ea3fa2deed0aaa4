"""Repairing what a disk did: damaged objects of the cache and damaged files of the workspace, from whatever is sound.

Each of the three places (workspace, cache, remote) may have the right bytes, which the lock file names by their MD5.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.errors import BitlakeError, MissingArtifact
from store.layout import Layout
from store.leaf.commit import write_file
from store.revisions.cache import Cache, file_md5, left_behind
from store.revisions.objects import LARGEST_BYTES, Location
from store.revisions.project import project_root
from store.revisions.pulling import check_place, file_list
from store.revisions.revision import Output, open_revision, remote_locations

_ROOT = "zarr.json"


@dataclass
class Repaired:
    """What was done, a line each, and what could not be, with what helps."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What was done as plain JSON values."""
        return {"done": self.done, "left": self.left}


def repair(root: Path, *, remote: str | None = None) -> Repaired:
    """Replace damaged objects of the cache and damaged files of the leaves that the workspace's lock file names.

    A damaged object that is nowhere else is removed, so that nothing is restored from it. A leaf that is
    another one than the lock file's is not touched.
    """
    from dvc.repo import lock_repo

    root = project_root(root)
    revision = open_revision(str(root), remote=remote)
    said = Repaired()
    with revision.repo as repo, lock_repo(repo):
        cache = Cache.of(repo)
        locations = list(remote_locations(repo, remote))
        for _, output in sorted(revision.outputs.items()):
            if output.kept:
                check_place(root, output.path)
                _repair(root, cache, locations, output, said)
    return said


def _repair(root: Path, cache: Cache, locations: Sequence[Location], output: Output, said: Repaired) -> None:
    leaf = root / output.path
    for path in left_behind(leaf):
        path.unlink()
        said.done.append(f"{path.relative_to(root)}: removed what an interrupted pull left")
    damaged = cache.is_damaged(output.oid)
    try:
        files = file_list(cache, locations, output)
    except BitlakeError as error:
        if damaged:
            cache.path(output.oid).unlink()
        if damaged or not leaf.is_dir():
            said.left.append(f"{output.path}: {error}")
        return
    if damaged:
        said.done.append(f"{output.path}: its list of files in the cache was damaged, and is restored")
    here = {name: _is(leaf / name, oid) for name, oid in files.items()}
    for name, oid in files.items():
        if cache.is_damaged(oid):
            _restore_object(
                cache, locations, oid, leaf / name if here[name] else None, f"{output.path}/{name}", said
            )
    wrong = [name for name, right in here.items() if not right]
    if not leaf.is_dir() or not wrong:
        return
    if not here.get(_ROOT) and len(wrong) > 1:
        said.left.append(
            f"{output.path}: is another artifact than the lock file's; run `dvc repro`, or remove it and `lake pull`"
        )
        return
    # The document at the root last: without it a leaf is none.
    for name in sorted(wrong, key=lambda name: name == _ROOT):
        oid = files[name]
        try:
            data = (
                cache.path(oid).read_bytes() if _is(cache.path(oid), oid) else _fetched(cache, locations, oid)
            )
        except BitlakeError as error:
            said.left.append(f"{output.path}/{name}: {error}")
            continue
        (leaf / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(Layout(root), leaf / name, data)
        said.done.append(f"{output.path}/{name}: restored")


def _restore_object(
    cache: Cache, locations: Sequence[Location], oid: str, sound: Path | None, what: str, said: Repaired
) -> None:
    """Put the right bytes in the place of a damaged object, or at least remove it."""
    os.unlink(cache.path(oid))
    try:
        if sound is not None:
            cache.add(oid, sound.read_bytes())
        else:
            _fetched(cache, locations, oid)
    except BitlakeError as error:
        said.left.append(f"{what}: its object {oid} in the cache was damaged, and is removed; {error}")
    else:
        said.done.append(f"{what}: its object {oid} in the cache was damaged, and is replaced")


def _fetched(cache: Cache, locations: Sequence[Location], oid: str) -> bytes:
    failure: BitlakeError | None = None
    for location in locations:
        try:
            data = location.fetch(oid, LARGEST_BYTES)
        except BitlakeError as error:
            failure = error
            continue
        cache.add(oid, data)
        return data
    if failure is not None:
        raise failure
    raise MissingArtifact(
        "no remote is the default, so it is nowhere else; name one with --remote, or run `dvc repro`"
    )


def _is(path: Path, oid: str) -> bool:
    return path.is_file() and file_md5(path) == oid
