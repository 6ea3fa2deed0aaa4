"""`lake publish`: share the workspace's revision through a remote."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json, Remote, root


def command(
    tag: Annotated[
        str | None, typer.Option("--tag", help="Name the published revision by a Git tag.")
    ] = None,
    remote: Remote = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Replace objects that the remote holds with other content.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Push the workspace's artifacts to a remote, confirm the content of every object there, and only then tag.

    Refused while stages are stale, changes are not committed, or the lake does not verify. A remote inside the
    repository holds this release and no other; Git keeps the earlier ones.
    """
    from cli.output import print_json, size_text
    from store.revisions.publication import publish

    done = publish(root(), remote=remote, tag=tag, repair=repair)
    if as_json:
        print_json(done.as_json())
    else:
        removed = f", {done.removed} of earlier releases removed" if done.removed else ""
        print(
            f"remote {done.remote!r}: all {done.objects} objects are there, {size_text(done.size)} "
            f"({done.sent} sent{removed})"
        )
        if done.commit:
            then = f", then run `lake publish --tag {tag}` again" if tag else ""
            print(f"{done.commit} has changed: commit it{then}")
        if done.tag:
            print(f"tagged {done.tag}: share it with `git push origin {done.tag}`")
    if tag and not done.tag:
        raise typer.Exit(1)
