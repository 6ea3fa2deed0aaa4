"""Publishing: every object of the workspace's lock file in a remote, and only then a tag that names it.

A remote that is a folder of the repository holds exactly one release, since Git keeps the earlier ones.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import BitlakeError, DamagedArtifact, InvalidInput, UnavailableResource, first_line
from store.revisions.lock import LOCK
from store.revisions.objects import Location
from store.revisions.project import git, git_succeeds, project_root
from store.revisions.revision import Revision, open_revision, remote_locations
from store.revisions.verification import verify
from store.threads import overlapped

if TYPE_CHECKING:
    from dvc.repo import Repo

RELEASE_BYTES = 64_000_000
"""Upper bound of a remote that every clone of the repository brings along, in bytes."""

TRACKED = ("params.yaml", "dvc.yaml", LOCK, "code.yaml", "lake.zarr", ".dvc/config")
"""What a tag must hold for its revision to be read: parameters, graph, lock, groups above the leaves, remotes."""

REQUESTS = 8
"""Objects that are asked for at the same time."""


@dataclass(frozen=True)
class Published:
    """What was done.

    Attributes:
        remote: its name.
        objects: that the lock file names, all of which are in the remote now, and their ``size`` in bytes.
        sent: how many of them were not there before.
        removed: files of earlier releases that were removed from a remote inside the repository.
        commit: the remote's folder, relative to the repository, if Git has yet to be told of its changes.
        tag: that was made; None where none was asked for, or where there is something to commit first.
    """

    remote: str
    objects: int
    size: int
    sent: int
    removed: int
    commit: str | None
    tag: str | None

    def as_json(self) -> dict[str, Any]:
        """What was done as plain JSON values."""
        return asdict(self)


def publish(
    root: Path, *, remote: str | None = None, tag: str | None = None, repair: bool = False
) -> Published:
    """Push what the workspace of the project at ``root`` consists of, confirm its content in the remote, then tag.

    With ``repair`` an object that the remote holds with other content is replaced.

    Raises `InvalidInput` where the workspace is not ready (stale stages, uncommitted changes, a tag that exists, a
    remote inside the repository that would grow too large), `DamagedArtifact` where it does not verify or the
    remote holds other content, and `UnavailableResource` where the remote does not take everything: nothing is tagged
    then, and publishing again completes it.
    """
    root = project_root(root)
    _check_committed(root)
    if tag is not None:
        _check_tag(root, tag)
    revision = open_revision(str(root), remote=remote)
    with revision.repo as repo:
        location = _remote(revision, remote)
        _check_fresh(repo)
        _check_sound(root)
        with _explained("the cache: not all of the workspace is in it"):
            objects = _objects(repo)
        inside = _folder_ingit(root, repo, remote, location)
        size = sum(objects.values())
        if inside is not None and size > RELEASE_BYTES:
            raise InvalidInput(
                f"{location.name}: the release has {size:,} bytes, and a remote inside the repository may have "
                f"{RELEASE_BYTES:,}; publish to another remote with --remote"
            )
        sent = _push(repo, remote, location, objects, repair=repair)
        removed = _prune(repo, remote, location, objects) if inside is not None else 0
        name = remote or str(repo.config["core"]["remote"])
    changed = inside is not None and bool(git(root, "status", "--porcelain", "--", str(inside)))
    commit = f"{inside.name}/" if inside is not None and changed else None
    if tag is not None and commit is None:
        message = f"{len(revision.outputs)} artifacts, {len(objects)} objects in {location.name}"
        git(root, "tag", "--annotate", "--message", message, tag)
    return Published(name, len(objects), size, sent, removed, commit, None if commit else tag)


def _remote(revision: Revision, remote: str | None) -> Location:
    for location in remote_locations(revision.repo, remote):
        return location
    raise InvalidInput(
        "remote: there is no default; name one with --remote, or make one with `dvc remote default`"
    )


def _check_committed(root: Path) -> None:
    changed = [line[3:] for line in git(root, "status", "--porcelain", "--", *TRACKED).splitlines()]
    if changed:
        raise InvalidInput(
            f"{', '.join(changed)}: not committed, so that a revision would not be what is pushed; "
            "run `git add` and `git commit`, then publish again"
        )


def _check_tag(root: Path, tag: str) -> None:
    if git_succeeds(root, "rev-parse", "--quiet", "--verify", f"refs/tags/{tag}"):
        raise InvalidInput(f"tag: {tag!r} exists already; choose another")
    if tag.startswith("-") or not git_succeeds(root, "check-ref-format", f"refs/tags/{tag}"):
        raise InvalidInput(f"tag: {tag!r} is no name that Git takes; choose another")


def _check_fresh(repo: Repo) -> None:
    with _explained("dvc status: failed"):
        # Seen from another folder, DVC puts the path of dvc.yaml before the name of a stage.
        stale = sorted(
            name.rpartition(":")[2] for name, why in repo.status().items() if why != ["always changed"]
        )
    if stale:
        more = f" and {len(stale) - 5} more" if len(stale) > 5 else ""
        raise InvalidInput(
            f"{', '.join(stale[:5])}{more}: not up to date; run `dvc repro` (`dvc status` says why), then publish again"
        )


def _check_sound(root: Path) -> None:
    faults = verify(str(root)).faults
    if faults:
        raise DamagedArtifact(
            f"the lake does not verify, with {len(faults)} faults, the first: {faults[0].line}; "
            "`lake verify` names them all"
        )


def _objects(repo: Repo) -> dict[str, int]:
    """Size in bytes of every object that DVC would push, manifests among them, by MD5."""
    cache = repo.cache.local
    used = {info.value for infos in repo.used_objs(push=True).values() for info in infos}
    return {oid: Path(cache.oid_to_path(oid)).stat().st_size for oid in sorted(used)}


def _push(
    repo: Repo, remote: str | None, location: Location, objects: Mapping[str, int], *, repair: bool
) -> int:
    """Send what the remote does not have, and see that it has the content of everything; returns how many were sent.

    `dvc push` would take a folder for sent when its manifest is there, whatever became of its files.
    """
    from dvc_data.callbacks import TqdmCallback
    from dvc_data.hashfile.hash_info import HashInfo

    failed = f"{location.name}: not all of it was published"
    with _explained(failed):
        missing = _missing(location, objects, objects, repair=repair)
    for oid in missing:
        _check_object(Path(repo.cache.local.oid_to_path(oid)), oid)
    with _explained(failed), _heard() as errors:
        if missing:
            infos = [HashInfo("md5", oid) for oid in missing]
            with TqdmCallback(desc=f"Pushing to {location.name}", unit="file") as bar:
                odb = repo.cloud.get_remote_odb(remote)
                repo.cloud.transfer(repo.cache.local, odb, infos, callback=bar)
        left = _missing(location, missing, objects, repair=False)
    if left:
        reason = f" ({first_line(errors[0])})" if errors else ""
        raise UnavailableResource(
            f"{failed}: {len(left)} of {len(objects)} objects are not there{reason}; "
            "nothing is tagged, publish again to send the rest"
        )
    return len(missing)


def _missing(location: Location, oids: Iterable[str], sizes: Mapping[str, int], *, repair: bool) -> list[str]:
    """Objects that the remote itself says it does not have.

    Each is known by its content. One of another size, which a push that was cut off leaves, is removed first; one of
    other content too with ``repair``, else it is named in a `DamagedArtifact`: whoever pulled it has it.
    """
    filesystem = location.filesystem.fs
    filesystem.invalidate_cache()

    def found(oid: str) -> tuple[str, str | None]:
        digest = location.digest(oid)
        if digest is None or digest == oid.removesuffix(".dir"):
            return oid, digest
        if repair or location.size(oid) != sizes[oid]:
            filesystem.rm_file(location.path(oid))
            return oid, None
        return oid, digest

    digests = dict(overlapped(found, oids, REQUESTS))
    damaged = [oid for oid, digest in digests.items() if digest not in (None, oid.removesuffix(".dir"))]
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise DamagedArtifact(
            f"{location.name}: object {damaged[0]}{more} has other content there (MD5 {digests[damaged[0]]}, "
            f"{location.path(damaged[0])}); `lake publish --repair` sends it again from the cache"
        )
    return [oid for oid, digest in digests.items() if digest is None]


def _check_object(path: Path, oid: str) -> None:
    """A damaged object of the cache must not be what readers get."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != oid.removesuffix(".dir"):
        raise DamagedArtifact(
            f"the cache: object {oid} has other content (MD5 {digest}, {path}); `lake verify --repair` replaces it"
        )


def _folder_ingit(root: Path, repo: Repo, remote: str | None, location: Location) -> Path | None:
    """The remote's folder if Git keeps what is in it."""
    if repo.cloud.get_remote_odb(remote).fs.protocol != "local":
        return None
    top, folder = Path(git(root, "rev-parse", "--show-toplevel")).resolve(), Path(location.folder).resolve()
    if not folder.is_relative_to(top) or git_succeeds(root, "check-ignore", "--quiet", f"{folder}/files"):
        return None
    return folder


def _prune(repo: Repo, remote: str | None, location: Location, objects: Mapping[str, int]) -> int:
    """Remove from a folder what this release does not have; returns how many files that were."""
    from dvc_data.hashfile.db import get_index

    named = {Path(location.path(oid)) for oid in objects}
    others = [
        path
        for path in (Path(location.folder) / "files" / "md5").rglob("*")
        if path.is_file() and path not in named
    ]
    for path in others:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    if others:
        get_index(repo.cloud.get_remote_odb(remote)).clear()
    return len(others)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """One line for whatever a file system, a server or DVC raises."""
    try:
        yield
    except UnavailableResource as error:
        raise UnavailableResource(f"{what}: {error}; publish again then") from None
    except BitlakeError:
        raise
    except Exception as error:
        raise UnavailableResource(
            f"{what} ({first_line(error)}); see that it can be reached and has room, then publish again"
        ) from None


@contextmanager
def _heard() -> Iterator[list[BaseException]]:
    """Errors that DVC would only log, each with its traceback, while the block runs."""
    errors: list[BaseException] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                errors.append(record.exc_info[1])

    listener = Listener(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger.propagate, logger.handlers[:]) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [listener]
    try:
        yield errors
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers
