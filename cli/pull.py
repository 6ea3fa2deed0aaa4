"""`lake pull`: bring artifacts here, proved before anything is written."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json, Remote, root


def command(
    artifacts: Annotated[
        list[str] | None,
        typer.Argument(
            help="As `lake ls` names them, or folders of them; all that are kept if none is given."
        ),
    ] = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Bring the artifacts of the lock file here; names, links, digests and sizes are checked before DVC acts."""
    from cli.output import print_json, size_text
    from store.revisions.pulling import pull

    done = pull(root(), artifacts or (), remote=remote)
    if as_json:
        print_json(done.as_json())
    else:
        print(f"{done.artifacts} artifacts are here; {done.objects} objects fetched, {size_text(done.size)}")
