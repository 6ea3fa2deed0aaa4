"""Who writes where: a folder in which something is staged belongs to one process until that ends, however it ends.

A claim is a lock that the operating system holds for the process. No process number has to tell whether the owner of a
folder is still alive: if its lock can be taken it is not, and what it left is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from store.errors import UnavailableResource
from store.layout import PRIVATE, Layout

_LOCK = ".lock~"
"""No label ends like this, so no folder is taken for a lock."""

_PATIENCE_SECONDS = 1.0
"""Until a lock counts as that of a writer: whoever looks for what dead processes left holds one for a moment."""


@contextmanager
def staging_for(layout: Layout, place: Path) -> Iterator[Path]:
    """The folder from which ``place``, a path without symbolic links, can be replaced in one step.

    It is the project's own, or one beside ``place`` where a link or a mount has put that on another file system. That
    one is removed when the block ends, unless another process still uses it.
    """
    layout.staging.mkdir(parents=True, exist_ok=True)
    there = next(folder for folder in place.parents if folder.is_dir())
    if _are_on_one_file_system(layout.staging, there):
        yield layout.staging
        return
    beside = place.parent / PRIVATE / layout.staging.name
    try:
        yield beside
    finally:
        with suppress(OSError):
            beside.rmdir()
            beside.parent.rmdir()


def _are_on_one_file_system(first: Path, second: Path) -> bool:
    if first.stat().st_dev != second.stat().st_dev:
        return False
    try:
        # One device can be mounted twice. Linux says so before it looks for the file, which does not exist.
        os.rename(first / ".absent", second / ".absent")
    except OSError as error:
        return error.errno != errno.EXDEV
    return True


@contextmanager
def claimed(staging: Path, name: str, what: object) -> Iterator[Path]:
    """An empty folder ``name`` below ``staging`` for this process alone; it is removed when the block ends.

    What dead processes left in ``staging`` is removed first. Raises `UnavailableResource` naming ``what`` where another
    process, or another thread of this one, has claimed the folder.
    """
    lock, folder = staging / f"{name}{_LOCK}", staging / name
    descriptor = _locked(lock, what)
    try:
        _remove_abandoned(staging)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(lock: Path, what: object) -> int:
    """A descriptor of the lock file, which is locked and in its place."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            lock.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            if _take(descriptor, lock):
                return descriptor
            owner = os.read(descriptor, 1024).decode(errors="replace") or "another process"
        except OSError as error:
            os.close(descriptor)
            raise UnavailableResource(
                f"{lock.parent}: files cannot be locked here ({error.strerror}); "
                "keep the project on a file system with locks"
            ) from error
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise UnavailableResource(
                f"{what}: {owner} is at work on it; wait until that has ended, or stop it, then run again"
            )
        time.sleep(0.01)


def _take(descriptor: int, lock: Path) -> bool:
    """Lock an open lock file; False where another process holds it, or has removed it since it was opened."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    return False


def _remove_abandoned(staging: Path) -> None:
    """Remove what processes that have ended left in ``staging``; a folder without a lock is none that anyone owns."""
    locks = {
        entry if entry.suffix == _LOCK else entry.with_name(f"{entry.name}{_LOCK}")
        for entry in staging.iterdir()
        if entry.suffix == _LOCK or entry.is_dir()
    }
    for lock in sorted(locks):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if _take(descriptor, lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
