"""Pulling what the lock file names, with every name, link, digest and size checked before anything is written.

DVC follows the list of a folder's files wherever it leads (docs/remotes.md). Here lists and objects are proved first,
the cache gets nothing else, and DVC finds in the cache all that it lays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import (
    BitlakeError,
    DamagedArtifact,
    InvalidInput,
    MissingArtifact,
    UnavailableResource,
    first_line,
)
from store.layout import LAKE
from store.revisions.cache import Cache, left_behind
from store.revisions.objects import LARGEST_BYTES, Location, parse_manifest
from store.revisions.project import project_root
from store.revisions.revision import Output, Revision, open_revision, remote_locations
from store.threads import overlapped

if TYPE_CHECKING:
    from dvc.repo import Repo

REQUESTS = 8
"""Objects that are asked for at the same time; each is held whole."""

_ENTRY_BYTES = 1_024
"""Upper bound of what a file takes in the list of its folder."""

_MOST_FILES = 100_000
"""Upper bound of the files of a leaf whose lock entry does not say how many it has."""


@dataclass(frozen=True)
class Pulled:
    """What is in the workspace now: ``artifacts``, for which so many ``objects`` of ``size`` bytes were fetched."""

    artifacts: int
    objects: int
    size: int

    def as_json(self) -> dict[str, Any]:
        """What was done as plain JSON values."""
        return asdict(self)


def pull(root: Path, targets: Sequence[str] = (), *, remote: str | None = None) -> Pulled:
    """Bring the kept artifacts of the workspace's lock file here, all or those at or below ``targets``.

    Raises `InvalidInput` where a name or a link leads elsewhere or a leaf would lose work, `DamagedArtifact` where the
    remote holds something else than the lock file says, `MissingArtifact` where it has not all, and
    `UnavailableResource` where it cannot be reached. No file outside the cache is touched then.
    """
    from dvc.exceptions import ConfirmRemoveError, DvcException
    from dvc.repo import lock_repo

    root = project_root(root)
    for name in (".dvc", ".dvc/cache", ".dvc/tmp"):
        check_place(root, name)
    revision = open_revision(str(root), remote=remote)
    with revision.repo as repo, lock_repo(repo):
        _check_names(repo, root)
        chosen = _chosen(revision, targets)
        for output in chosen:
            check_place(root, output.path)
        try:
            count, size = fetch_all(revision, remote, chosen)
            for output in chosen:
                for path in left_behind(root / output.path):
                    path.unlink()
            # For every target DVC goes through the whole graph. What is not pushed is not in the cache.
            at = [str(root / output.path) for output in chosen] if targets else None
            repo.checkout(targets=at, allow_missing=True)
        except ConfirmRemoveError as error:
            raise InvalidInput(
                f"{first_line(error).partition(' without confirmation')[0]}, since the lock file does not have it; "
                "move the artifact away that `lake verify` names, then pull again"
            ) from None
        except BitlakeError:
            raise
        except (DvcException, OSError) as error:
            raise UnavailableResource(
                f"the workspace: {first_line(error)}; see to that, then pull again"
            ) from None
    return Pulled(len(chosen), count, size)


def check_place(root: Path, path: str) -> None:
    """Raise `InvalidInput` where a file of the project would be written through a link, and so perhaps elsewhere."""
    at = root
    for part in Path(path).parts:
        at = at / part
        if at.is_symlink():
            raise InvalidInput(
                f"{at.relative_to(root)}: is a link to {at.readlink()}, so that {path} would be written there; "
                "remove the link, or use `dvc pull` if you made it yourself"
            )
    for folder in at.rglob("*"):
        if folder.is_symlink() and folder.is_dir():
            raise InvalidInput(
                f"{folder.relative_to(root)}: is a link to the folder {folder.readlink()}; remove it, then pull again"
            )


def _check_names(repo: Repo, root: Path) -> None:
    """Every output of the graph lies in the project, by a plain name, whatever folder its stage works in."""
    for out in repo.index.outs:
        name = str(out.def_path)
        plain = name and not set(name) & {"\0", "\\", ":"} and not Path(name).is_absolute()
        place = Path(str(out.fs_path))
        # What Git and DVC keep in folders with a dot, such as hooks, runs code.
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if not plain or hidden or not place.is_relative_to(root) or ".." in place.parts:
            raise InvalidInput(
                f"dvc.yaml: output {name!r} lies outside the project, or in a hidden folder; do not pull what this "
                "repository says"
            )


def _chosen(revision: Revision, targets: Sequence[str]) -> list[Output]:
    kept = [output for _, output in sorted(revision.outputs.items()) if output.kept]
    if not targets:
        return kept
    found: dict[str, Output] = {}
    for target in targets:
        name = f"{LAKE}/{target.strip('/').removeprefix(LAKE).strip('/')}".rstrip("/")
        matching = [out for out in kept if out.path == name or out.path.startswith(f"{name}/")]
        if not matching:
            raise InvalidInput(f"artifact: {target!r} is not kept in the lock file; `lake ls` lists what is")
        found.update((output.path, output) for output in matching)
    return list(found.values())


def fetch_all(revision: Revision, remote: str | None, outputs: Sequence[Output]) -> tuple[int, int]:
    """Have every object of the outputs in the cache, proved; how many were fetched, and their bytes."""
    cache = Cache.of(revision.repo)
    locations = list(remote_locations(revision.repo, remote))
    lists = list(overlapped(lambda output: file_list(cache, locations, output), outputs, REQUESTS))
    wanted: dict[str, int] = {}
    for output, files in zip(outputs, lists, strict=True):
        here = {oid: cache.path(oid).stat().st_size for oid in files.values() if cache.path(oid).is_file()}
        room = output.size - sum(here.get(oid, 0) for oid in files.values())
        for oid in files.values():
            if oid not in here:
                wanted[oid] = min(room, wanted.get(oid, LARGEST_BYTES))
    sizes = dict(
        zip(
            wanted,
            overlapped(lambda oid: _fetch(cache, locations, oid, wanted[oid]), wanted, REQUESTS),
            strict=True,
        )
    )
    for output, files in zip(outputs, lists, strict=True):
        size = sum(cache.path(oid).stat().st_size for oid in files.values())
        if size != output.size:
            raise DamagedArtifact(
                f"{output.path}: its files have {size:,} bytes, and the lock file says {output.size:,}; "
                "run `git checkout dvc.lock`, or do not pull what this repository says"
            )
    return len(sizes), sum(sizes.values())


def file_list(cache: Cache, locations: Sequence[Location], output: Output) -> dict[str, str]:
    """MD5 by name of an output's files, from the cache or else a remote, and then in the cache.

    Raises what `Location.fetch` raises, and `DamagedArtifact` for a list that no leaf has, or of another length.
    """
    path = cache.path(output.oid)
    if path.is_file() and not cache.is_damaged(output.oid):
        content = path.read_bytes()
    else:
        most = _ENTRY_BYTES * (output.files or _MOST_FILES)
        content = _from(locations, output.oid, most, output.path)
    files = parse_manifest(content, output.path)
    if output.files is not None and len(files) != output.files:
        raise DamagedArtifact(
            f"{output.path}: its list has {len(files)} files, and the lock file says {output.files}; "
            "run `git checkout dvc.lock`, or do not pull what this repository says"
        )
    cache.add(output.oid, content)
    return files


def _fetch(cache: Cache, locations: Sequence[Location], oid: str, largest: int) -> int:
    data = _from(locations, oid, max(0, min(largest, LARGEST_BYTES)), f"object {oid}")
    cache.add(oid, data)
    return len(data)


def _from(locations: Sequence[Location], oid: str, largest: int, what: str) -> bytes:
    for at, location in enumerate(locations, start=1):
        try:
            return location.fetch(oid, largest)
        except MissingArtifact:
            if at == len(locations):
                raise
    raise MissingArtifact(
        f"{what}: is not in the cache, and no remote is the default; name one with --remote, or run `dvc repro`"
    )
