"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Repo = Annotated[str, typer.Option("--repo", help="A project: a folder in it, or its Git URL.")]
Rev = Annotated[str | None, typer.Option("--rev", help="A commit, tag or branch instead of the workspace.")]
Remote = Annotated[str | None, typer.Option("--remote", help="A DVC remote by its name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def root() -> Path:
    """The root of the project that the working directory lies in."""
    from store.revisions.project import project_root

    return project_root(Path.cwd())
