"""`lake show`: one artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json, Remote, Repo, Rev

if TYPE_CHECKING:
    from rich.tree import Tree

    from store.revisions.catalog import Made


def command(
    artifact: Annotated[
        str, typer.Argument(help="As `lake ls` names it: embeddings/all-MiniLM-L6-v2/scipy-api")
    ],
    repo: Repo = ".",
    rev: Rev = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Show an artifact: its arrays, its attributes, and its lineage back to the corpus."""
    from cli.output import print_json, print_table, print_tree
    from store.revisions.catalog import lineage, open_artifact
    from store.revisions.revision import open_revision

    revision = open_revision(repo, rev, remote)
    leaf = open_artifact(revision, artifact)
    made = lineage(revision, artifact)
    arrays: list[dict[str, Any]] = []
    for path, files in leaf.arrays.items():
        field = leaf.schema.field_of(path)
        arrays.append(
            {
                "array": path,
                "dims": " × ".join(
                    f"{name}={size}" for name, size in zip(field.dims, files.shape, strict=True)
                ),
                "dtype": field.dtype,
                "units": field.units,
                "chunks": "×".join(map(str, files.chunk)),
                "shards": "×".join(map(str, files.shards)) if files.shards else "",
                "description": field.description,
            }
        )
    groups = {name: leaf.group_attributes(name) for name in leaf.groups()}
    if as_json:
        print_json(
            {
                "artifact": made.path,
                "arrays": arrays,
                "attributes": dict(leaf.attributes),
                "groups": groups,
                "lineage": made.as_json(),
            }
        )
        return
    print_table(made.path, arrays, ["array", "dims", "dtype", "units", "chunks", "shards", "description"])
    attributes = [{"name": name, "value": value} for name, value in leaf.attributes.items()]
    for group, found in groups.items():
        attributes += [{"name": f"{group}: {name}", "value": value} for name, value in found.items()]
    print_table("\nattributes", attributes, ["name", "value"])
    print()
    print_tree(_tree(made))


def _tree(made: Made) -> Tree:
    from rich.tree import Tree

    params = {name: value for name, value in made.params.items() if name != "code"}
    tree = Tree(
        f"{made.path}  ({made.md5[:8]}, stage {made.stage}, code {str(made.params.get('code', ''))[:8]})"
    )
    for name, value in params.items():
        tree.add(f"{name}: {value}", style="dim")
    for source in made.inputs:
        tree.children.append(_tree(source))
    return tree
