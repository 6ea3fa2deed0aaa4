"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Repo = Annotated[str, typer.Option("--repo", help="A project: its folder, or its Git URL.")]
Rev = Annotated[str | None, typer.Option("--rev", help="A commit, tag or branch instead of the workspace.")]
Remote = Annotated[str | None, typer.Option("--remote", help="A DVC remote by its name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
