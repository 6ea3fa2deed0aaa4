"""`lake gc`: free the cache of what no revision uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, root


def command(
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove them; without it they are only counted.")
    ] = False,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="Keep what any commit uses, not only tags and branches.")
    ] = False,
    projects: Annotated[
        list[Path] | None,
        typer.Option(
            "--project",
            "--projects",
            help="The root of another project with the same cache; may be repeated.",
        ),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option(
            "--only-this-project", help="No other project uses the cache, although it lies outside."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the objects of the cache that no workspace, tag, branch or experiment uses, and remove them if told to."""
    from cli.output import print_json, size_text
    from store.revisions.garbage import collect_garbage

    found = collect_garbage(root(), remove=yes, all_commits=all_commits, projects=projects or (), alone=alone)
    if as_json:
        print_json(found.as_json())
        return
    what = f"{found.objects} objects of the cache, {size_text(found.size)}"
    if not found.objects:
        print("the cache holds nothing that is not used")
    elif found.removed:
        print(f"removed {what}")
    else:
        print(f"{what}, are used by no revision: `lake gc --yes` removes them")
    for note in found.notes:
        print(f"note: {note}")
