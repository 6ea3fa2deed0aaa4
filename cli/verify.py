"""`lake verify`: is the lake sound?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json, Remote, Repo, Rev

if TYPE_CHECKING:
    from store.revisions.verification import Claims


def command(
    repo: Repo = ".",
    rev: Rev = None,
    remote: Remote = None,
    mend: Annotated[
        bool,
        typer.Option("--repair", help="First replace damaged files and objects of the cache by sound ones."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check hashes, checksums, schemas and completeness; the exit code is 1 on any fault, which is named.

    Without options it checks the workspace; with --rev the objects of a revision, from the cache or else the default
    remote; with --remote the objects in that remote alone. With --repair, what is damaged in the workspace or the cache
    is restored from whichever of workspace, cache and remote is sound, and the workspace is checked then.
    """
    from cli.output import print_json, size_text
    from store.errors import InvalidInput
    from store.revisions.project import located
    from store.revisions.repairing import repair
    from store.revisions.verification import verify

    if mend and rev is not None:
        raise InvalidInput(
            "rev: only the workspace can be repaired; leave --rev out, or check the revision out"
        )
    repaired = repair(Path(located(repo)), remote=remote) if mend else None
    found = verify(repo, rev, None if mend else remote, claims=_claims(repo))
    if as_json:
        print_json(found.as_json() | ({"repaired": repaired.as_json()} if repaired else {}))
    else:
        if repaired:
            for kind, lines in (("repaired", repaired.done), ("not repaired", repaired.left)):
                for line in lines:
                    print(f"{kind}: {line}")
        for kind, findings in (("fault", found.faults), ("warning", found.warnings), ("note", found.notes)):
            for finding in findings:
                print(f"{kind}: {finding.line}")
        checked = dict(found.checked)
        size = size_text(checked.pop("bytes"))
        counts = ", ".join(f"{number} {name}" for name, number in checked.items())
        print(f"checked {counts}, {size}: {len(found.faults)} faults, {len(found.warnings)} warnings")
    if found.faults:
        raise typer.Exit(1)


def _claims(repo: str) -> Claims:
    """Which named study an artifact belongs to, where the project is a folder."""
    from pipeline.named_studies import claims
    from store.revisions.project import located

    return claims(Path(located(repo)))
