"""Snapshots of repositories on the Hugging Face hub: pinned, complete and checked.

The hub's client quotes the signed addresses it was redirected to in its errors and its log. So its log is silent
here, and only the kind of its errors is passed on.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from store.errors import InvalidInput, UnavailableResource
from store.patience import while_growing

# A listing may name a path outside the snapshot's folder, and the client would write there.
_OUTSIDE = ["/*", "../*", "*/../*"]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOGS = ("huggingface_hub", "httpx2")


def snapshot(
    name: str,
    revision: str,
    *,
    kind: Literal["model", "dataset"],
    field: str,
    allowed: Sequence[str],
    ignored: Sequence[str] = (),
) -> Path:
    """The folder of a repository's files at ``revision``: in the hub's local cache, downloaded where they are missing.

    ``allowed`` and ``ignored`` are patterns of paths; ``field`` is how messages name the entry of ``params.yaml``.
    Files are compared with the sizes, and large ones with the SHA-256, that the hub lists. The hub's own variables
    (``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HUB_CACHE``, ``HF_TOKEN``) are obeyed by its client.

    Raises `InvalidInput` where the name or the listing cannot be used and `UnavailableResource` where files cannot
    be had; nothing but whole files is ever left in the cache under their names.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.file_download import repo_folder_name

    what = f"{field}: {name} at revision {revision}"
    offline = "HF_HUB_OFFLINE is set; unset it to download it"
    unreachable = (
        offline if constants.HF_HUB_OFFLINE else "the hub cannot be reached; check the network and run again"
    )
    try:
        with _quiet():
            found = while_growing(
                f"the hub, {name}",
                lambda: snapshot_download(
                    name,
                    repo_type=kind,
                    revision=revision,
                    allow_patterns=list(allowed),
                    ignore_patterns=[*ignored, *_OUTSIDE],
                ),
                lambda: _size(Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)),
            )
    except TimeoutError as error:
        # The client keeps it to itself where the hub asks it to wait.
        raise UnavailableResource(
            f"{what}: {error}; check the network, or run again in some minutes where the hub has had too many requests"
        ) from None
    except HFValidationError:
        raise InvalidInput(
            f"{field}.name: {name!r} is not a name on the hub (owner/{kind})"
            + ("; a folder starts with / or ./" if kind == "model" else "; correct the name")
        ) from None
    except RevisionNotFoundError:
        raise UnavailableResource(
            f"{field}.revision: the hub has {name} but not revision {revision}; correct the revision"
        ) from None
    except RepositoryNotFoundError:
        raise UnavailableResource(
            f"{field}.name: the hub shows no {kind} {name}; correct the name, or run hf auth login where it is private"
        ) from None
    except RemoteEntryNotFoundError:
        raise UnavailableResource(
            f"{what} lists a file that the hub does not have; run again later or choose another revision"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        refused = error if isinstance(error, HfHubHTTPError) else error.__cause__
        if isinstance(refused, HfHubHTTPError):
            if refused.response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
                raise UnavailableResource(
                    f"{what}: the hub has had too many requests (status 429); run again in some minutes, or run "
                    "hf auth login, which allows more"
                ) from None
            raise UnavailableResource(
                f"{what} was refused by the hub (status {refused.response.status_code}); run again later, or run "
                "hf auth login where it is gated"
            ) from None
        raise UnavailableResource(f"{what} is not wholly in the local cache and {unreachable}") from None
    except Exception as error:  # any error that the client raises when a connection breaks off
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EROFS,
        ):
            raise UnavailableResource(
                f"{what} cannot be written to the local cache ({error.strerror}); make room there or set HF_HUB_CACHE"
            ) from None
        raise UnavailableResource(
            f"{what} broke off while it was downloaded ({type(error).__name__}); check the network and run again"
        ) from None
    folder = Path(found)
    _check_listing(folder, name, kind, what)
    return folder


def _size(folder: Path) -> int:
    """Bytes of the files below a folder that another thread writes to."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.lstat().st_size
    return size


def _check_listing(folder: Path, name: str, kind: str, what: str) -> None:
    """Refuse a listing with paths that leave their folder, and files that are not the listed ones."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        listed = get_cached_repo_tree(name, repo_type=kind, revision=folder.name)
    except CachedRepoTreeNotFoundError:
        # A cache that another version of the client filled; what it holds was complete when it was written.
        return
    for entry in listed:
        path = entry.path
        if path.startswith("/") or "\\" in path or posixpath.normpath(path).startswith(".."):
            raise InvalidInput(f"{what} lists {path!r}, which leaves its folder; choose another repository")
        file = folder / path
        if file.is_file() and not _is_listed(file, entry.size):
            raise UnavailableResource(
                f"{what}: {path} in the local cache is not the listed file; remove it there and run again"
            )


def _is_listed(file: Path, size: int) -> bool:
    if file.stat().st_size != size:
        return False
    # The client keeps a large file under its SHA-256, and a small one under another digest, with a link to it here.
    kept_as = file.resolve().name
    if not _SHA256.fullmatch(kept_as):
        return True
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == kept_as


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the client's log, which quotes signed addresses."""
    logs = [logging.getLogger(name) for name in _LOGS]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
