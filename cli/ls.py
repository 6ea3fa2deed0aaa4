"""`lake ls`: the catalog."""

from __future__ import annotations

from cli.options import Json, Remote, Repo, Rev


def command(repo: Repo = ".", rev: Rev = None, remote: Remote = None, as_json: Json = False) -> None:
    """List every artifact: dimensions, size, where it is, the stage that made it and the commit that introduced it."""
    from cli.output import print_json, print_table, size_text
    from store.revisions.catalog import catalog
    from store.revisions.revision import open_revision

    revision = open_revision(repo, rev, remote)
    entries = catalog(revision)
    if as_json:
        print_json([entry.as_json() for entry in entries])
        return
    rows = [
        {
            "artifact": entry.path,
            "dims": " ".join(f"{name}={size}" for name, size in entry.dims.items()),
            "dtype": " ".join(entry.dtypes),
            "size": size_text(entry.size),
            "state": entry.state if entry.kept else f"{entry.state} (not kept)",
            "stage": entry.stage,
            "params": " ".join(name for name in entry.params if name != "code"),
            "commit": entry.commit,
        }
        for entry in entries
    ]
    total = sum(entry.size for entry in entries if entry.kept)
    title = f"{revision.label}: {len(rows)} artifacts, {size_text(total)} kept"
    print_table(title, rows, ["artifact", "dims", "dtype", "size", "state", "stage", "params", "commit"])
