"""Objects are found where they are, read range by range, and never taken for what they are not."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from dvc_objects.fs.local import LocalFileSystem
from fsspec.asyn import AsyncFileSystem

from store.errors import DamagedArtifact, MissingArtifact, UnavailableResource, first_line, without_secrets
from store.revisions.objects import Location, ObjectFiles, Objects

CONTENT = bytes(range(256)) * 4
OID = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def location(folder: Path, name: str = "the cache", content: bytes | None = CONTENT) -> Location:
    filesystem = LocalFileSystem()  # type: ignore[no-untyped-call]
    found = Location(name, filesystem, str(folder / name))
    if content is not None:
        path = Path(found.path(OID))
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return found


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (0, 1), (3, 700), (1000, 1024), (-1, None), (-1024, None)]
)
def test_a_range_is_what_a_slice_would_be(tmp_path: Path, start: int | None, end: int | None) -> None:
    objects = Objects((location(tmp_path),), "v1")
    assert objects.read(OID, start, end) == CONTENT[start:end]
    assert objects.is_cached(OID)


def test_the_first_location_that_has_it_is_asked_and_the_others_when_it_no_longer_has(tmp_path: Path) -> None:
    cache, remote = location(tmp_path, "cache", None), location(tmp_path, "remote")
    objects = Objects((cache, remote), "v1")
    assert not objects.is_cached(OID)
    assert objects.read(OID, 0, 4) == CONTENT[:4]
    Path(cache.path(OID)).parent.mkdir(parents=True)
    Path(remote.path(OID)).rename(cache.path(OID))
    assert objects.read(OID, 0, 4) == CONTENT[:4]
    Path(cache.path(OID)).unlink()
    with pytest.raises(MissingArtifact, match=f"v1: object {OID} is neither in cache nor in remote; push it"):
        objects.read(OID, 0, 4)


def test_other_content_is_refused(tmp_path: Path) -> None:
    objects = Objects((location(tmp_path, content=CONTENT[:-1] + b"x"),), "v1")
    with pytest.raises(DamagedArtifact, match=f"v1: object {OID} has other content in the cache"):
        objects.read(OID)


@pytest.mark.parametrize(("start", "end"), [(-2000, None), (1000, 1025), (5000, 5001)])
def test_an_object_that_is_too_short_is_refused(tmp_path: Path, start: int, end: int | None) -> None:
    with pytest.raises(DamagedArtifact, match=f"v1: object {OID} is too short in the cache; remove it there"):
        Objects((location(tmp_path),), "v1").read(OID, start, end)


class _Opens(AsyncFileSystem):  # type: ignore[misc]
    """Like SSH: a server whose files can be opened but not fetched in part."""

    def _open(self, path: str, *arguments: Any, **options: Any) -> io.BytesIO:
        return io.BytesIO(CONTENT)


class _Fails(AsyncFileSystem):  # type: ignore[misc]
    async def _cat_file(self, path: str, **options: Any) -> bytes:
        raise OSError("https://name:secret@host/lake?X-Amz-Signature=secret\nand more")


class _Over:
    def __init__(self, filesystem: Any) -> None:
        self.fs = filesystem


@pytest.mark.parametrize(("start", "end"), [(None, None), (3, 700), (-20, None)])
def test_a_server_of_files_is_read_in_ranges(start: int | None, end: int | None) -> None:
    remote = Location("remote 'ssh'", _Over(_Opens(skip_instance_cache=True)), "/lake")
    assert Objects((remote,), "v1").read(OID, start, end) == CONTENT[start:end]


def test_what_a_server_says_is_shown_in_one_line_without_secrets() -> None:
    remote = Location("remote 's3'", _Over(_Fails(skip_instance_cache=True)), "/lake")
    with pytest.raises(UnavailableResource) as raised:
        Objects((remote,), "v1").read(OID)
    assert str(raised.value) == (
        "v1: cannot read from remote 's3' (https://…@host/lake?…); see that it can be reached, then try again"
    )
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git@host:lake.git", "git@host:lake.git"),
        ("https://token@host/lake.git@v1", "https://…@host/lake.git@v1"),
        ("ssh://a:b@host/x and http://c@d/e?f=g&h", "ssh://…@host/x and http://…@d/e?…"),
        ("/folder/lake", "/folder/lake"),
    ],
)
def test_urls_lose_what_only_their_owner_may_see(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


def test_an_error_without_words_is_named() -> None:
    assert first_line(TimeoutError()) == "TimeoutError"


def test_a_leaf_of_objects_reads_its_own_files_only(tmp_path: Path) -> None:
    files = ObjectFiles("leaf", Objects((location(tmp_path),), "v1"), {"zarr.json": OID, "c.0": OID})
    assert files.names == {"zarr.json", "c.0"}
    assert files.read("zarr.json") == CONTENT
    assert files.read("c.0", 5, 9) == CONTENT[5:9]
    with pytest.raises(MissingArtifact, match=r"leaf: c\.1 is not in this revision; run `dvc pull`"):
        files.read("c.1")
    assert pickle.loads(pickle.dumps(files)).read("c.0", -4) == CONTENT[-4:]
