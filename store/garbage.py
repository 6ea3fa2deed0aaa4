"""Freeing DVC's cache of what no revision uses: DVC's own `gc`, which first learns what every revision holds."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import BitlakeError, InvalidInput, MissingArtifact, UnavailableResource
from store.objects import first_line
from store.revision import open_revision

if TYPE_CHECKING:
    from dvc.repo import Repo

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

    With ``all_commits`` whatever any commit uses stays as well. Remotes are left alone. Raises `InvalidInput` where it
    cannot be known what a revision holds.
    """
    from dvc.exceptions import DvcException

    scope = {**KEPT, "all_commits": all_commits}
    repo = open_revision(str(root)).repo
    branches = {name: on for name, on in scope.items() if name != "workspace"}
    _complete_manifests(repo, root, branches)
    try:
        used = {info.value for infos in repo.used_objs(**branches).values() for info in infos}
        cache = repo.cache.local
        unused = [cache.oid_to_path(oid) for oid in cache.all() if oid not in used]
        size = sum(os.path.getsize(path) for path in unused)
        if remove and unused:
            repo.gc(**scope)
    except (DvcException, OSError) as error:
        raise UnavailableResource(f"dvc gc: {first_line(error)}; nothing else was removed") from None
    return Garbage(len(unused), size, remove and bool(unused))


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
