"""Objects of DVC: files by their MD5, read range by range from a cache or a remote."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from store.errors import DamagedArtifact, MissingArtifact, UnavailableResource
from store.threads import overlapped

_REQUESTS = 8
"""Documents of a leaf that are asked for at once."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)*")
"""File names that Bitlake writes: no absolute path, no ``..``, nothing that could leave the leaf."""


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

    def read(self, oid: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object, as a slice would take them. Raises whatever the file system does."""
        path, first, filesystem = self.path(oid), start or 0, self.filesystem.fs
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
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if digest != oid.removesuffix(".dir"):
                raise DamagedArtifact(
                    f"{self.where}: object {oid} has other content in {location.name} (MD5 {digest}); "
                    "remove it there and push it again"
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
    for name, md5 in files.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not _MD5.fullmatch(str(md5)):
            raise DamagedArtifact(
                f"{label}: its manifest names {name!r} ({md5}), which no leaf holds; do not use it"
            )
    return files


def without_secrets(text: str) -> str:
    """``text`` without what URLs may carry: name and password before the host, a signature after the path."""
    return re.sub(r"\?[^\s'\"]*", "?…", re.sub(r"//[^/\s'\"]*@", "//…@", text))


def first_line(error: BaseException) -> str:
    """The first line of an error's message without secrets, or its kind where it says nothing."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return without_secrets(text)
