"""`lake verify`: is the lake sound?"""

from __future__ import annotations

import typer

from cli.options import Json, Remote, Repo, Rev


def command(repo: Repo = ".", rev: Rev = None, remote: Remote = None, as_json: Json = False) -> None:
    """Check hashes, checksums, schemas and completeness; the exit code is 1 on any fault, which is named.

    Without options it checks the workspace; with --rev the objects of a revision, from the cache or else the default
    remote; with --remote the objects in that remote alone.
    """
    from cli.output import print_json, size_text
    from store.revisions.verification import verify

    found = verify(repo, rev, remote)
    if as_json:
        print_json(found.as_json())
    else:
        for kind, findings in (("fault", found.faults), ("warning", found.warnings), ("note", found.notes)):
            for finding in findings:
                print(f"{kind}: {finding.line}")
        checked = dict(found.checked)
        size = size_text(checked.pop("bytes"))
        counts = ", ".join(f"{number} {name}" for name, number in checked.items())
        print(f"checked {counts}, {size}: {len(found.faults)} faults, {len(found.warnings)} warnings")
    if found.faults:
        raise typer.Exit(1)
