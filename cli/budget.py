"""`lake budget`: what the study took, beside the plan and the caps."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Json, root

FILE = "report/budget.json"


def command(
    write: Annotated[
        bool, typer.Option("--write", help="Write the summary to report/budget.json as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the hours of every experiment from this machine's ledger, what was planned, and how far the caps are."""
    from cli.output import json_text, print_json, print_table
    from pipeline.budget import load, summary
    from pipeline.ledger import read_ledger
    from store.layout import Layout
    from store.leaf.commit import write_file

    layout = Layout(root())
    found = summary(load(layout.root), read_ledger(layout))
    if write:
        write_file(layout, layout.root / FILE, (json_text(found) + "\n").encode())
    if as_json:
        print_json(found)
        return
    rows = [{"experiment": name, **_row(figures)} for name, figures in found["experiments"].items()]
    columns = ["experiment", "stages", "runs", "GPU-h", "planned", "CPU-h", "planned CPU-h", "wall h", "peak"]
    print_table("hours of this machine's ledger", rows, [*columns, "GPU peak", "devices"])
    caps = [
        {"cap": group, "GPU-h": f"{of['gpu_hours']:g}", "of": f"{of['cap']:g}"}
        for group, of in found["caps"].items()
    ]
    print_table("\ncaps", caps, ["cap", "GPU-h", "of"])
    if write:
        print(f"\nwrote {FILE}")


def _row(figures: dict[str, Any]) -> dict[str, str]:
    from cli.output import size_text

    runs = figures["runs"]
    counted = [f"{count} {outcome}" for outcome, count in runs.items() if count and outcome != "finished"]
    return {
        "stages": " ".join(figures["stages"]),
        "runs": f"{sum(runs.values())}" + (f" ({', '.join(counted)})" if counted else ""),
        "GPU-h": f"{figures['gpu_hours']:g}",
        "planned": _span(figures["gpu_hours_planned"]),
        "CPU-h": f"{figures['cpu_hours']:g}",
        "planned CPU-h": _span(figures["cpu_hours_planned"]),
        "wall h": f"{figures['wall_hours']:g}",
        "peak": size_text(figures["peak_bytes"]) if figures["peak_bytes"] else "",
        "GPU peak": size_text(figures["gpu_peak_bytes"]) if figures["gpu_peak_bytes"] else "",
        "devices": ", ".join(figures["devices"]),
    }


def _span(hours: tuple[float, float] | None) -> str:
    return "" if hours is None else f"{hours[0]:g}–{hours[1]:g}"
