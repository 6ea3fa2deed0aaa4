"""Objects of DVC: files by their MD5, read range by range from a cache or a remote."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, TypeVar

from fsspec.asyn import sync

from store.errors import DamagedArtifact, MissingArtifact, UnavailableResource, first_line
from store.patience import answer_seconds, within
from store.threads import overlapped

_REQUESTS = 8
"""Documents of a leaf that are asked for at once."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)*")
"""File names that Bitlake writes: no absolute path, no ``..``, nothing that could leave the leaf."""


LARGEST_BYTES = 160 * 1024 * 1024
"""Upper bound of an object: what a shard has at most (`store.leaf.schema`), and room for its index."""

CACHE = "the cache"
"""Name of the first location of a revision."""

_T = TypeVar("_T")


def md5_of(data: bytes) -> str:
    """The MD5 by which DVC names an object."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Location:
    """A place that keeps objects by MD5: a file system of DVC and the folder on it.

    Beneath the file system, as its ``fs``, is one of fsspec; to take that is to connect to a server.
    """

    name: str
    filesystem: Any
    folder: str

    def path(self, oid: str) -> str:
        """Path of an object, in DVC's layout."""
        return f"{self.folder}/files/md5/{oid[:2]}/{oid[2:]}"

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine, where nothing is waited for."""
        return str(getattr(self.filesystem, "protocol", "local")) == "local"

    def _within(self, seconds: float, call: Callable[[], _T]) -> _T:
        return call() if self.is_local else within(seconds, self.name, call)

    def holding(self, oids: Iterable[str]) -> set[str]:
        """Those of the objects that are there. Raises `UnavailableResource` where the location cannot be asked."""
        ordered = sorted(oids)
        if not ordered:
            return set()
        paths = [self.path(oid) for oid in ordered]
        try:
            answers = self._within(
                answer_seconds(requests=len(paths)), lambda: list(self.filesystem.exists(paths))
            )
            if not any(answers):
                # Over HTTP a server that does not answer has nothing.
                with contextlib.suppress(FileNotFoundError):
                    self.read(ordered[0])
        except Exception as error:
            raise self._unavailable("cannot be asked", error) from None
        return {oid for oid, holds in zip(ordered, answers, strict=True) if holds}

    def _unavailable(self, what: str, error: Exception) -> UnavailableResource:
        # Not chained: what lies below may quote a signed URL.
        return UnavailableResource(
            f"{self.name}: {what} ({first_line(error)}); see that it can be reached, then try again"
        )

    def read(self, oid: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object, as a slice would take them. Raises whatever the file system does."""
        size = LARGEST_BYTES if end is None else abs(end - (start or 0))
        return self._within(answer_seconds(size), lambda: self._read(oid, start, end))

    def _read(self, oid: str, start: int | None, end: int | None) -> bytes:
        path, first, filesystem = self.path(oid), start or 0, self.filesystem.fs
        if self._is_web:
            # One byte more than was asked for shows that a server sends whole files.
            most = LARGEST_BYTES if end is None and first >= 0 else abs((end or 0) - first)
            return bytes(sync(filesystem.loop, _web_read, filesystem, path, first, end, most + 1))
        if getattr(filesystem, "async_impl", False):
            # A server. For all of an object some file systems first ask how long it is; "from 0" they just pass on.
            with contextlib.suppress(NotImplementedError):
                return bytes(filesystem.cat_file(path, start=first, end=end))
        # A disk, or a server of files to open (SSH).
        with filesystem.open(path, "rb") as file:
            if first < 0:
                file.seek(0, os.SEEK_END)
                first = max(0, file.tell() + first)
            file.seek(first)
            return bytes(file.read() if end is None else file.read(end - first))

    @property
    def _is_web(self) -> bool:
        return str(getattr(self.filesystem, "protocol", "")).startswith("http")

    def fetch(self, oid: str, largest: int) -> bytes:
        """A whole object, proved by its name, of at most ``largest`` bytes: more are not read, whatever is sent.

        Raises `MissingArtifact` where it is not there, `DamagedArtifact` for other content or more of it, and
        `UnavailableResource` where the location cannot be reached.
        """
        try:
            data = self._within(answer_seconds(largest), lambda: self._read(oid, 0, largest + 1))
        except FileNotFoundError:
            raise MissingArtifact(
                f"{self.name}: does not have object {oid}; push it from where it was made, or run `dvc repro`"
            ) from None
        except Exception as error:
            if not _beyond_the_end(error):
                raise self._unavailable(f"cannot read object {oid}", error) from None
            data = b""
        if len(data) > largest:
            raise DamagedArtifact(
                f"{self.name}: object {oid} has more than the {largest:,} bytes that the lock file allows it; "
                "use another remote, or push it again with `lake publish --repair`"
            )
        if (digest := md5_of(data)) != oid.removesuffix(".dir"):
            raise DamagedArtifact(
                f"{self.name}: object {oid} has other content (MD5 {digest}); use another remote, or push it again "
                "with `lake publish --repair`"
            )
        return data

    def size(self, oid: str) -> int | None:
        """Bytes of an object; None where it is not there, or the location does not say."""
        try:
            info = self._within(answer_seconds(), lambda: dict(self.filesystem.fs.info(self.path(oid))))
            return None if info.get("size") is None else int(info["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unavailable(f"cannot be asked for object {oid}", error) from None

    def digest(self, oid: str) -> str | None:
        """The MD5 of what is kept as an object: as the server computed it, or of its bytes; None where it is not there.

        Raises `UnavailableResource` where the location cannot be reached.
        """
        try:
            info = self._within(answer_seconds(), lambda: dict(self.filesystem.fs.info(self.path(oid))))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unavailable(f"cannot be asked for object {oid}", error) from None
        # An ETag of S3 is the MD5 of what was sent in one piece without encryption by a key; any other proves nothing.
        tag = str(info.get("ETag", "")).strip('"')
        if not self.is_local and tag == oid.removesuffix(".dir"):
            return tag
        if (size := info.get("size")) is not None and size > LARGEST_BYTES:
            return f"of {size} bytes"
        try:
            return md5_of(self.read(oid))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unavailable(f"cannot read object {oid}", error) from None


async def _web_read(filesystem: Any, path: str, first: int, end: int | None, most: int) -> bytes:
    """At most ``most`` bytes, as they come: a server may send all of a file, or a compressed one, for a range."""
    last = "" if end is None else end - 1
    settings = dict(filesystem.kwargs)
    headers = settings.pop("headers", {}) | {
        "Range": f"bytes={first}" if first < 0 else f"bytes={first}-{last}",
        "Accept-Encoding": "identity",
    }
    session = await filesystem.set_session()
    parts, left = [], most
    async with session.get(filesystem.encode_url(path), headers=headers, **settings) as response:
        filesystem._raise_not_found_for_status(response, path)
        async for part in response.content.iter_chunked(1 << 20):
            parts.append(part[:left])
            left -= len(parts[-1])
            if not left:
                # What is left is not waited for.
                response.close()
                break
    return b"".join(parts)


@dataclass(frozen=True)
class Objects:
    """Objects of a revision: looked for in each location in turn.

    ``where`` says in messages which they are.
    """

    locations: tuple[Location, ...]
    where: str
    _found: dict[str, Location] = field(default_factory=dict, compare=False, repr=False)

    def read(self, oid: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object, as a slice would take them; a whole object is checked against its MD5.

        Raises `MissingArtifact` where no location has it, `UnavailableResource` where one cannot be reached, and
        `DamagedArtifact` where it is not what it should be.
        """
        # Where it was found before comes first: asking the cache in vain is cheap, asking a server is not.
        known = self._found.get(oid)
        for location in (known, *self.locations) if known else self.locations:
            try:
                data = location.read(oid, start, end)
            except FileNotFoundError:
                continue
            except Exception as error:
                if _beyond_the_end(error):
                    raise DamagedArtifact(self._too_short(location, oid)) from None
                # Not chained: what lies below may quote a signed URL.
                raise UnavailableResource(
                    f"{self.where}: cannot read from {location.name} ({first_line(error)}); "
                    "see that it can be reached, then try again"
                ) from None
            self._found[oid] = location
            self._check(data, location, oid, start, end)
            return data
        places = " nor in ".join(location.name for location in self.locations)
        if len(self.locations) == 1:
            raise MissingArtifact(
                f"{self.where}: object {oid} is not in {places}, and no remote is the default; name one"
            )
        raise MissingArtifact(
            f"{self.where}: object {oid} is neither in {places}; "
            "push it from where it was made, or recompute it with `dvc repro`"
        )

    def _check(self, data: bytes, location: Location, oid: str, start: int | None, end: int | None) -> None:
        if start is None and end is None:
            digest = md5_of(data)
            if digest != oid.removesuffix(".dir"):
                cached = location.name == CACHE
                again = "it is read from a remote or recomputed" if cached else "push it again"
                raise DamagedArtifact(
                    f"{self.where}: object {oid} has other content in {location.name} (MD5 {digest}); "
                    f"remove it there ({location.path(oid)}) and {again}"
                )
            return
        first = start or 0
        if first >= 0 and end is None:
            return
        expected = -first if end is None else end - first
        if len(data) > expected:
            # Nothing is wrong with the object, but ten rows would cost all of it every time.
            raise UnavailableResource(
                f"{self.where}: {location.name} sends whole files where ranges of bytes are asked for, so nothing "
                "can be streamed from it; run `dvc pull` instead"
            )
        if len(data) < expected:
            raise DamagedArtifact(self._too_short(location, oid))

    def _too_short(self, location: Location, oid: str) -> str:
        return (
            f"{self.where}: object {oid} is too short in {location.name}; remove it there and push it again"
        )

    def is_cached(self, oid: str) -> bool:
        """Whether the first location, DVC's cache, has an object."""
        return bool(self.locations[0].filesystem.exists(self.locations[0].path(oid)))

    def __getstate__(self) -> dict[str, Any]:
        return {"locations": self.locations, "where": self.where, "_found": {}}


def _beyond_the_end(error: BaseException) -> bool:
    """Whether a server says that a range lies beyond the end: HTTP 416, which S3 calls InvalidRange."""
    return getattr(error, "status", None) == 416 or "InvalidRange" in f"{error!r} {error.__cause__!r}"


@dataclass(frozen=True)
class ObjectFiles:
    """A leaf as the objects of a revision: a `store.leaf.source.Source`."""

    label: str
    objects: Objects
    files: dict[str, str] = field(repr=False)
    remedy: str = "run `dvc pull`, or push it again from where it was made"

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.files)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        if name not in self.files:
            raise MissingArtifact(f"{self.label}: {name} is not in this revision; {self.remedy}")
        if start is None and end is None and name in self._documents:
            return self._documents[name]
        return self.objects.read(self.files[name], start, end)

    @cached_property
    def _documents(self) -> dict[str, bytes]:
        """The JSON documents, asked for together: opening takes all of them, and from a server each takes a while."""
        names = [name for name in self.files if name.rpartition("/")[2] == "zarr.json"]
        found = overlapped(lambda name: self.objects.read(self.files[name]), names, _REQUESTS)
        return dict(zip(names, found, strict=True))

    def __hash__(self) -> int:
        return hash((self.label, self.objects.where))


def parse_manifest(content: bytes, label: str) -> dict[str, str]:
    """A DVC directory manifest: MD5 by file name. Raises `DamagedArtifact` for anything that could not be a leaf's."""
    try:
        entries = json.loads(content)
        files = {entry["relpath"]: entry["md5"] for entry in entries}
        if not isinstance(entries, list):
            raise TypeError(f"it is {type(entries).__name__}, expected a list")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedArtifact(
            f"{label}: its manifest is not one of DVC's ({error!r}); push it again"
        ) from error
    if len(files) != len(entries):
        raise DamagedArtifact(f"{label}: its manifest names a file twice; do not use it")
    folders = {str(parent) for name in files for parent in PurePosixPath(str(name)).parents}
    if both := sorted(folders.intersection(files)):
        raise DamagedArtifact(
            f"{label}: its manifest names {both[0]!r} as a file and as a folder; do not use it"
        )
    for name, md5 in files.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not _MD5.fullmatch(str(md5)):
            raise DamagedArtifact(
                f"{label}: its manifest names {name!r} ({md5}), which no leaf holds; do not use it"
            )
    return files
