"""A leaf that was opened in one process, opened in another, perhaps on another machine.

What travels is the leaf's place and identity. The other process looks at that place, then in its own checkout of the
project, then in what its checkout's DVC has of it (the cache, a remote such as a bucket). Only a leaf of the very
identity will do, so that no worker computes with other values than the stage would.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from store.errors import BitlakeError, InvalidInput, MissingArtifact
from store.layout import CHECKOUT, LAKE
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Schema
from store.leaf.source import Folder, Source
from store.revisions.revision import open_revision

_KEPT = 32
_opened: OrderedDict[tuple[str, str], Leaf] = OrderedDict()
_lock = threading.Lock()


def travelling(leaf: Leaf) -> tuple[Callable[..., Leaf], tuple[str, Schema, str]]:
    """What `pickle` needs to open the leaf again elsewhere; InvalidInput for one that does not lie in a workspace."""
    if not isinstance(leaf.source, Folder):
        raise InvalidInput(
            f"{leaf.source.label}: only artifacts of the workspace can be worked on by other processes; "
            "check the revision out and `dvc pull`"
        )
    return reopened, (str(leaf.source.path.resolve()), leaf.schema, leaf.identity)


def reopened(path: str, schema: Schema, identity: str) -> Leaf:
    """The leaf of ``identity`` that another process opened at ``path``; those opened last are kept.

    Raises `MissingArtifact` where it is not to be had.
    """
    with _lock:
        if (path, identity) in _opened:
            _opened.move_to_end((path, identity))
            return _opened[path, identity]
        leaf = _found(path, schema, identity)
        _opened[path, identity] = leaf
        while len(_opened) > _KEPT:
            _opened.popitem(last=False)
        return leaf


def _found(path: str, schema: Schema, identity: str) -> Leaf:
    for where in _places(path):
        try:
            leaf = open_leaf(where() if callable(where) else where, schema)
        except BitlakeError:
            continue
        if leaf.identity == identity:
            return leaf
    raise MissingArtifact(
        f"{path}: a worker does not find the artifact as the stage opened it; share the project's folder with the "
        "workers, or push the artifact and check out the same commit on each of them"
    )


def _places(path: str) -> Iterator[Path | Callable[[], Source]]:
    yield Path(path)
    parts = Path(path).parts
    if LAKE not in parts:
        return
    # The last: a project may lie below a folder of that name.
    start = len(parts) - 1 - parts[::-1].index(LAKE)
    inside = "/".join(parts[start:])
    yield CHECKOUT / inside
    yield lambda: open_revision(str(CHECKOUT)).source(inside)
