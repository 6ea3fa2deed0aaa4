"""`lake diff`: what changed between two revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json, Remote, Repo

if TYPE_CHECKING:
    from store.revisions.differences import ArrayDifference


def command(
    rev: Annotated[str, typer.Argument(help="A commit, tag or branch.")],
    other: Annotated[str | None, typer.Argument(help="Another one; the workspace if not given.")] = None,
    repo: Repo = ".",
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Compare REV with the workspace, or with OTHER: cells added, removed, changed, by how much; headline figures."""
    from cli.output import print_json, print_table
    from stages.results import METRICS
    from store.revisions.differences import compare
    from store.revisions.revision import open_revision

    before, after = open_revision(repo, rev, remote), open_revision(repo, other, remote)
    found = compare(before, after, METRICS)
    if as_json:
        print_json(found.as_json())
        return
    rows: list[dict[str, Any]] = []
    rows += [{"artifact": path, "change": "added"} for path in found.added]
    rows += [{"artifact": path, "change": "removed"} for path in found.removed]
    for leaf in found.changed:
        rows.append(
            {
                "artifact": leaf.path,
                "change": "changed",
                "values": _what(leaf.arrays, leaf.attributes, leaf.note),
            }
        )
        rows += [
            {
                "artifact": f"  {array.path}",
                "values": _values(array),
                "largest difference": "" if array.largest is None else f"{array.largest:.3g}",
            }
            for array in leaf.arrays
        ]
    title = f"{before.label} → {after.label}"
    if not rows and not found.headline:
        print(f"{title}: nothing differs")
        return
    print_table(title, rows, ["artifact", "change", "values", "largest difference"])
    if found.headline:
        figures = [
            {"figure": name, "before": before_, "after": after_, "change": _change(before_, after_)}
            for name, (before_, after_) in found.headline.items()
        ]
        print_table("\nheadline", figures, ["figure", "before", "after", "change"])


def _what(arrays: tuple[ArrayDifference, ...], attributes: tuple[str, ...], note: str) -> str:
    if note:
        return f"not compared: {note}"
    if attributes:
        return f"attributes: {', '.join(attributes)}"
    return "" if arrays else "same values, other bytes"


def _values(array: ArrayDifference) -> str:
    before, after = array.shapes
    if before != after:
        return f"shape {_shape(before)} → {_shape(after)}"
    return f"{array.changed} of {array.total} values"


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape))


def _change(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{after - before:+.6g}"
