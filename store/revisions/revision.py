"""A revision of a lake, read without pulling it: DVC says which objects it consists of, and where they are kept.

DVC's lock file names a manifest for every leaf, a small object that lists the leaf's files by MD5. Files are read
range by range from DVC's cache, else from the remote. Zarr on DVC's own file system would be simpler, but reads
objects that cannot be had as fill values and downloads a whole shard for one row.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import InvalidInput, MissingArtifact, UnavailableResource, first_line, without_secrets
from store.layout import LAKE
from store.leaf.schema import Schema
from store.patience import CLONE_SECONDS, CONNECT_SECONDS, READ_SECONDS, answer_seconds, within
from store.revisions.lock import LOCK, check_aliases, check_graph, locked_stages
from store.revisions.objects import (
    CACHE,
    Location,
    ObjectFiles,
    Objects,
    parse_manifest,
)
from store.revisions.project import GRAPH, located

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class Output:
    """A tracked output of a revision.

    Attributes:
        size: of its ``files``, in bytes, as the lock file declares both; ``files`` is None where it does not.
        kept: whether DVC caches it, and ``pushed``, whether it is in remotes then.
    """

    path: str
    oid: str
    size: int
    kept: bool
    files: int | None = None
    pushed: bool = True


class Revision:
    """The leaves of one revision of a project, read from DVC's cache or from a remote."""

    def __init__(self, repo: Repo, rev: str | None, remote: str | None, url: str, name: str) -> None:
        self.repo, self.rev, self._remote = repo, rev, remote
        self.url = url
        self.label = without_secrets(f"{name}@{rev}" if rev else name)

    @cached_property
    def outputs(self) -> dict[str, Output]:
        """Everything below the lake that the revision's lock file names, by path."""
        found = {}
        for out in self.repo.index.outs:
            path = out.def_path.lstrip("/")
            if path.startswith(f"{LAKE}/") and out.hash_info and out.hash_info.value:
                kept = bool(out.use_cache)
                found[path] = Output(
                    path,
                    out.hash_info.value,
                    int(out.meta.size or 0),
                    kept,
                    out.meta.nfiles,
                    bool(out.can_push),
                )
        return found

    @cached_property
    def objects(self) -> Objects:
        """Where the revision's objects are to be had: the cache first, then the remote."""
        return Objects(tuple(self._locations()), self.label)

    def _locations(self) -> Iterator[Location]:
        cache = self.repo.cache.local
        yield Location(CACHE, cache.fs, _folder(cache))
        yield from remote_locations(self.repo, self._remote)

    def leaves(self, schema: Schema) -> list[str]:
        """Paths of an artifact's leaves in the revision, sorted."""
        depth = 2 + len(schema.keys)
        paths = (path.split("/") for path in self.outputs)
        return sorted("/".join(path) for path in paths if len(path) == depth and path[1] == schema.artifact)

    @property
    def root(self) -> Path:
        """The project's folder, where the revision is that of a workspace."""
        return Path(self.repo.root_dir)

    def tracked(self, path: str) -> bytes:
        """A file of the project that Git tracks, as the revision has it; `MissingArtifact` where it has none."""
        try:
            with self.repo.fs.open(self.repo.fs.join(self.repo.root_dir, path), "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            raise MissingArtifact(
                f"{path} of {self.label}: is not there; choose a revision that has it"
            ) from None

    def source(self, path: str) -> ObjectFiles:
        """The leaf at ``path``, relative to the project; without names where the revision has none."""
        label = f"{path} of {self.label}"
        output = self.outputs.get(path)
        if output is None:
            return ObjectFiles(label, self.objects, {}, remedy="choose a revision that has it")
        if not output.kept:
            raise MissingArtifact(
                f"{label}: is not kept with revisions, since it follows from what is; check the revision out, "
                "then run `dvc repro`"
            )
        return ObjectFiles(label, self.objects, self.files(path))

    def files(self, path: str) -> dict[str, str]:
        """MD5 of each file of a leaf by its name."""
        oid = self.outputs[path].oid
        return parse_manifest(self.objects.read(oid), f"{path} of {self.label}")


def _limits(scheme: str) -> dict[str, int]:
    """What DVC calls the limits of a kind of remote; what a project sets itself counts more."""
    if scheme in ("s3", "http", "https"):
        return {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if scheme in ("webdav", "webdavs"):
        return {"timeout": READ_SECONDS}
    if scheme == "azure":
        return {"connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    return {"timeout": CONNECT_SECONDS} if scheme == "ssh" else {}


def remote_locations(repo: Repo, remote: str | None) -> Iterator[Location]:
    """The remote's objects; for a remote that is a folder of the repository also as the revision itself has it.

    The folder of a shipped remote changes from release to release, and Git keeps what it held at each.
    """
    from dvc.config import NoRemoteError, RemoteNotFoundError
    from dvc.exceptions import DvcException
    from dvc.fs import GitFileSystem
    from dvc_objects.fs.errors import RemoteMissingDepsError

    name = remote or repo.config["core"].get("remote")
    if name is None:
        return
    settings = repo.config["remote"].get(name, {})
    for setting, seconds in _limits(str(settings.get("url", "")).partition("://")[0]).items():
        settings.setdefault(setting, seconds)
    try:
        odb = repo.cloud.get_remote_odb(name)
    except (NoRemoteError, RemoteNotFoundError):
        known = ", ".join(repo.config["remote"]) or "there is none"
        raise InvalidInput(f"remote: {name!r} is not one of {known}; add it with `dvc remote add`") from None
    except (ImportError, RemoteMissingDepsError) as error:
        scheme = str(repo.config["remote"][name]["url"]).partition("://")[0]
        raise UnavailableResource(
            f"remote {name!r}: {first_line(error)}; run `pip install dvc-{scheme}`"
        ) from None
    except DvcException as error:
        raise UnavailableResource(f"remote {name!r}: {first_line(error)}") from None
    folder = _folder(odb)
    if isinstance(repo.fs, GitFileSystem) and odb.fs.protocol == "local":
        root, path = Path(repo.scm.root_dir).resolve(), Path(folder).resolve()
        if path.is_relative_to(root):
            inside = f"/{path.relative_to(root).as_posix()}"
            yield Location(f"remote {name!r} of that revision", _GitFiles(repo.fs), inside)
    yield Location(f"remote {name!r}", odb.fs, folder)


def _folder(odb: Any) -> str:
    # What stands before the layout that `Location.path` spells out.
    return str(odb.path).removesuffix("/").removesuffix("files/md5").rstrip("/\\")


_ONE_AT_A_TIME = threading.Lock()
"""Git's packs are read through one position in one file."""


@dataclass(frozen=True)
class _GitFiles:
    """Files of a commit, as far as `Location` reads them."""

    filesystem: Any

    @property
    def fs(self) -> _GitFiles:
        return self

    def open(self, path: str, mode: str) -> io.BytesIO:
        with _ONE_AT_A_TIME, self.filesystem.open(path, mode) as file:
            return io.BytesIO(file.read())


@contextmanager
def _explained(url: str, rev: str | None) -> Iterator[None]:
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.scm import CloneError, RevError, SCMError

    name = without_secrets(url)
    try:
        yield
    except NotDvcRepoError:
        raise MissingArtifact(f"{name}: is not a DVC project; give its root or its Git URL") from None
    except RevError:
        raise InvalidInput(f"rev: {rev!r} is no commit, tag or branch of {name}") from None
    except CloneError as error:
        raise _not_cloned(url, error.__cause__ or error) from None
    except (SCMError, DvcException) as error:
        raise InvalidInput(f"{name}: {first_line(error)}") from None


def open_revision(url: str, rev: str | None = None, remote: str | None = None) -> Revision:
    """The lake of a project at a path or Git URL, as ``rev`` has it; the workspace's lock file where ``rev`` is None.

    Raises `MissingArtifact` where there is no project, `InvalidInput` for an unknown revision or remote, and
    `UnavailableResource` where a repository or a remote cannot be reached.
    """
    with _explained(url, rev):
        at = located(url)
        if rev is None and (Path(at) / GRAPH).is_file():
            # Before DVC, which takes the beginning of a lock file for all of it.
            locked_stages(Path(at))
        revision = Revision(_open(at, rev), rev, remote, at, url)
        _check_documents(revision.repo)
        _ = revision.outputs
        if remote is not None:
            _ = revision.objects
    return revision


def _check_documents(repo: Repo) -> None:
    """Raise `InvalidInput` for documents with which DVC, which trusts them, would fill the memory."""

    def text(*parts: str) -> bytes:
        try:
            with repo.fs.open(repo.fs.join(*parts), "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return b""

    for folder, folders, names in repo.fs.walk(repo.root_dir):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if GRAPH in names:
            check_graph(text(folder, GRAPH), partial(text, folder))
        for name in names:
            if name == LOCK or name.endswith(".dvc"):
                check_aliases(text(folder, name), name)


def _open(url: str, rev: str | None) -> Repo:
    from dvc.config import Config
    from dvc.exceptions import NotDvcRepoError
    from dvc.fs import GitFileSystem
    from dvc.repo import Repo
    from dvc.scm import SCM, SCMError

    if not Path(url).is_dir():
        return _clone(url, rev)
    try:
        root = Path(Repo.find_root(url)).resolve()
    except NotDvcRepoError as error:
        try:
            SCM(url)
        except SCMError:
            raise error from None
        # A bare repository, or one whose branch of today holds no project.
        return _clone(url, rev)
    if rev is None:
        return Repo(str(root))
    # Remotes and the cache as they are set up today: those of an old revision may have moved. Not through Repo, which
    # would write beside a project that may be someone else's.
    today = Config(str(root / Repo.DVC_DIR))
    scm = SCM(str(root))
    inside = root.relative_to(Path(scm.root_dir).resolve()).as_posix()
    files = GitFileSystem(scm=scm, rev=rev)
    settings = {name: today[name] for name in ("core", "remote", "cache")}
    repo = Repo("/" if inside == "." else f"/{inside}", fs=files, scm=scm, config=settings)
    # The settings were merged with those of the revision.
    repo.config["remote"] = today["remote"]
    return repo


def _not_cloned(url: str, error: BaseException) -> UnavailableResource:
    return UnavailableResource(
        f"{without_secrets(url)}: cannot be cloned ({first_line(error)}); see that it can be reached"
    )


def _check_answers(url: str) -> None:
    """Ask a Git server one small thing, since what clones has no limit of its own and may ask for a password."""
    asked = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": f"ssh -oBatchMode=yes -oConnectTimeout={CONNECT_SECONDS}",
    }
    command = ["git", "ls-remote", "--quiet", "--", url, "HEAD"]
    process = subprocess.Popen(
        command,
        env={**asked, **os.environ, "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = within(answer_seconds(), without_secrets(url), process.communicate)
    except BaseException as error:
        # With the helper that talks to the server, which would go on waiting.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(error, TimeoutError):
            raise _not_cloned(url, error) from None
        raise
    if process.returncode:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        reason = next(
            (line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else ""
        )
        raise _not_cloned(url, OSError(reason.partition(": ")[2] or f"git ends with {process.returncode}"))


def _clone(url: str, rev: str | None) -> Repo:
    """A project in a temporary clone, which is removed when the process ends."""
    from dvc.config_schema import RelPath
    from dvc.repo import Repo
    from dvc.repo.open_repo import clean_repos

    atexit.unregister(clean_repos)
    atexit.register(clean_repos)
    # As a URL: DVC would open a bare repository in place, with nowhere to keep anything.
    local = Path(url).is_dir()
    if not local:
        _check_answers(url)
    at = Path(url).resolve().as_uri() if local else url
    try:
        repo = within(CLONE_SECONDS, without_secrets(url), lambda: Repo.open(at, rev=rev))
    except TimeoutError as error:
        raise _not_cloned(url, error) from None
    for remote in repo.config["remote"].values():
        # DVC takes a path relative to the project for one from the root of this machine.
        if isinstance(remote["url"], RelPath):
            remote["url"] = f"{repo.scm.root_dir}{remote['url']}"
    return repo
