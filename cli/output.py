"""Printing: a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree


def print_json(content: Any) -> None:
    """Print ``content`` as JSON, keys in the order they came; see `json_text`."""
    print(json_text(content))


def json_text(content: Any) -> str:
    """``content`` as JSON that any parser takes: NaN and infinities, which JSON does not have, are null."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").replace("-", "").lower()
    return json.dumps(_finite(content), indent=2, ensure_ascii=encoding != "utf8", allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(name): _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [_finite(value) for value in content]
    if hasattr(content, "tolist"):  # of NumPy
        return _finite(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print one line a row; nothing is cut off where the output is no terminal."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    _console().print(table)


def print_tree(tree: Tree) -> None:
    """Print a tree; nothing is cut off where the output is no terminal."""
    _console().print(tree)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def size_text(size: int) -> str:
    """Bytes in the largest unit that leaves at least one whole unit."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _text(value: Any) -> str:
    return "" if value is None else str(value)
