"""What tests of remotes do with a project: set remotes up, push, and lose everything that lies on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import s3fs  # type: ignore[import-untyped]
from dvc.config_schema import RelPath
from dvc.repo import Repo

from store.layout import LAKE
from store.revisions.revision import open_revision
from tests.servers import S3_ENVIRONMENT, Server
from tests.store.revisions.lake_projects import LakeProject

BUCKET = "bucket"
LEAF = f"{LAKE}/embeddings/m/d"

SMALL_SHARDS = {"store.leaf.schema.CHUNK_BYTES": 64 * 32, "store.leaf.schema.SHARD_CHUNKS": 4}
"""Chunks of 64 and shards of 256 rows for the vectors of `tests.store.lakes`, so that a thousand rows are several."""


def isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Credentials of the S3 server, and no settings or state of DVC outside ``folder``."""
    for name, value in S3_ENVIRONMENT.items():
        patch.setenv(name, value)
    for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        patch.setenv(name, str(folder / name.lower()))
    patch.setenv("DVC_NO_ANALYTICS", "1")
    # A server that is gone refuses at once; one that is only slow, on a busy machine, is waited for.
    for limit in ("connect_timeout", "read_timeout"):
        patch.setattr(s3fs.S3FileSystem, limit, 60)


@contextlib.contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Isolated, and with small shards."""
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        for name, size in SMALL_SHARDS.items():
            patch.setattr(name, size)
        yield


def add_remote(project: LakeProject, name: str, *, default: bool = False, **settings: str) -> None:
    """What `dvc remote add` and `dvc remote modify` do; a relative ``url`` is relative to ``.dvc``."""
    if settings["url"].startswith(".."):
        settings["url"] = RelPath(os.path.abspath(project.root / ".dvc" / settings["url"]))
    with Repo(str(project.root)) as repo, repo.config.edit("repo") as config:
        config["remote"][name] = settings
        if default:
            config["core"]["remote"] = name


def push(project: LakeProject, remote: str | None = None) -> None:
    """Push what the workspace's lock names."""
    with Repo(str(project.root)) as repo:
        repo.push(remote=remote)


def forget(project: LakeProject) -> None:
    """Delete the cache and the leaves: what remains is what Git and the remotes have."""
    shutil.rmtree(project.root / ".dvc/cache")
    shutil.rmtree(project.layout.lake)


def oid_of(project: LakeProject, name: str, rev: str, leaf: str = LEAF) -> str:
    """The object that a file of a leaf is at a revision, for ``name`` "" the leaf's manifest."""
    revision = open_revision(str(project.root), rev)
    return revision.files(leaf)[name] if name else revision.outputs[leaf].oid


@dataclass(frozen=True)
class Bucket:
    """The objects that lie in the S3 server."""

    server: Server

    @contextlib.contextmanager
    def holding(self, oid: str, change: bytes | int | None) -> Iterator[None]:
        """For a while an object is gone (None), other bytes, or has one bit flipped at a position."""
        client = s3fs.S3FileSystem(endpoint_url=self.server.url)
        path = f"{BUCKET}/lake/files/md5/{oid[:2]}/{oid[2:]}"
        before = client.cat_file(path)
        if change is None:
            client.rm_file(path)
        elif isinstance(change, int):
            flipped = bytearray(before)
            flipped[change] ^= 1
            client.pipe_file(path, bytes(flipped))
        else:
            client.pipe_file(path, change)
        try:
            yield
        finally:
            client.pipe_file(path, before)
