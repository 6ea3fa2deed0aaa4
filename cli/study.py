"""`lake study`: which study the project holds, and how far it has come."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json, root

if TYPE_CHECKING:
    from pipeline.status import Progress, Step

app = typer.Typer(help="Named studies: choose one, and see how far it has come.", no_args_is_help=True)


@app.command()
def use(name: Annotated[str, typer.Argument(help="A file of studies/ without its ending.")]) -> None:
    """Write params.yaml and dvc.yaml for the study NAME. What other studies have computed stays and is used again."""
    from pipeline import study

    params = study.use(root(), name)
    print(f"study {params.study.name}: {len(list(params.study.cells()))} cells; run `dvc repro`")


@app.command()
def status(
    name: Annotated[
        str | None, typer.Argument(help="Another study than the one in params.yaml; nothing is written.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which stages of each cell are done, stale or missing, and where: in the workspace, the cache, the remote."""
    from cli.output import print_json, print_table
    from pipeline import study

    found = study.status(root(), name)
    if as_json:
        print_json(found.as_json())
        return
    cells, others = _rows(found)
    title = f"study {found.study} (l: in the workspace, c: in the cache, r: in the remote)"
    print_table(title, cells, list(dict.fromkeys(column for row in cells for column in row)))
    print_table("", others, ["stage", "of", "state"])
    print()
    for line in _summary(found):
        print(line)
    for note in found.notes:
        print(f"note: {note}")


def _rows(found: Progress) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """A row for each cell, with a column for each of its stages, and one for each other stage."""
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    others = []
    for step in found.steps:
        name = " ".join(filter(None, [step.experiment, step.stage]))
        if len(step.keys) == 2:
            row = cells.setdefault(tuple(step.keys.values()), {"cell": " × ".join(step.keys.values())})
            row[name] = _state(step)
        else:
            of = " × ".join(step.keys.values()) or "the study"
            others.append({"stage": name, "of": of, "state": _state(step)})
    return list(cells.values()), others


def _state(step: Step) -> str:
    return " ".join(filter(None, [step.state, "".join(place[0] for place in step.where)]))


def _summary(found: Progress) -> list[str]:
    """How many stages are in each state, and why those that are not done are not."""
    counted = Counter(step.state for step in found.steps)
    reasons = Counter((step.state, step.why) for step in found.steps if step.why)
    lines = [", ".join(f"{number} {state}" for state, number in sorted(counted.items()))]
    return lines + [f"{number} {state}: {why}" for (state, why), number in reasons.most_common()]
