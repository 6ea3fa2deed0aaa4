"""Freeing DVC's cache of what no revision uses: DVC's own collection, which first learns what every revision holds.

DVC takes for used what the stages of `dvc.yaml` name. What other studies have computed stands in the lock file alone,
and is kept as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import BitlakeError, InvalidInput, MissingArtifact, UnavailableResource
from store.revisions.objects import first_line
from store.revisions.places import locked_stages
from store.revisions.revision import open_revision

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.hash_info import HashInfo


KEPT = {"workspace": True, "all_tags": True, "all_branches": True, "all_experiments": True}
"""The scope of what is used: a published revision is a tag, and must stay as cheap to read as it is."""


@dataclass(frozen=True)
class Garbage:
    """Objects of the cache that nothing uses, their size in bytes, and whether they are gone."""

    objects: int
    size: int
    removed: bool

    def as_json(self) -> dict[str, Any]:
        """What was found as plain JSON values."""
        return asdict(self)


def collect_garbage(root: Path, *, remove: bool = False, all_commits: bool = False) -> Garbage:
    """Find the objects that neither the workspace nor any tag, branch or experiment uses, and ``remove`` them if asked.

    The workspace uses what its lock file names, whichever study that is of. With ``all_commits`` whatever any commit
    uses stays as well. Remotes are left alone. Raises `InvalidInput` where it cannot be known what a revision holds.
    """
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.gc import gc

    scope = {**KEPT, "all_commits": all_commits}
    repo = open_revision(str(root)).repo
    branches = {name: on for name, on in scope.items() if name != "workspace"}
    _complete_manifests(repo, root, branches)
    try:
        with repo.lock:
            used = {info for infos in repo.used_objs(**branches).values() for info in infos}
            used.update(_locked(root, cache := repo.cache.local))
            names = {info.value for info in used}
            unused = [cache.oid_to_path(oid) for oid in cache.all() if oid not in names]
            size = sum(os.path.getsize(path) for path in unused)
            if remove and unused:
                gc(cache, used)
    except (DvcException, OSError) as error:
        raise UnavailableResource(f"dvc gc: {first_line(error)}; nothing else was removed") from None
    return Garbage(len(unused), size, remove and bool(unused))


def _locked(root: Path, cache: HashFileDB) -> Iterator[HashInfo]:
    """What the lock file of the workspace names, as far as the cache has the lists of files."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    outs = [out for stage in locked_stages(root).values() for out in stage.get("outs", ())]
    for oid in {out["md5"] for out in outs if "md5" in out}:
        info = HashInfo("md5", oid)
        if cache.exists(oid):
            yield info
            if info.isdir:
                yield from (file for _, _, file in Tree.load(cache, info) if file)


def _complete_manifests(repo: Repo, root: Path, branches: dict[str, bool]) -> None:
    """Bring the lists of files of every revision into the cache.

    DVC looks for them in the remote of today, but a remote inside the repository holds one release only: what it
    held at each tag, Git has.
    """
    cache = repo.cache.local
    for rev in list(repo.brancher(**branches, workspace=False, sha_only=True)):
        try:
            revision = open_revision(str(root), rev)
        except MissingArtifact:
            continue  # From before the repository was a project.
        for output in revision.outputs.values():
            path = Path(cache.oid_to_path(output.oid))
            if not output.kept or path.exists():
                continue
            try:
                content = revision.objects.read(output.oid)
            except BitlakeError as error:
                raise InvalidInput(
                    f"{output.path} of {rev[:7]}: its list of files is not to be had, so what it uses is unknown "
                    f"({str(error).partition('; ')[0]}); fetch it, or remove the branch or tag"
                ) from None
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".new")
            beside.write_bytes(content)
            beside.replace(path)
