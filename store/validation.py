"""What pydantic found wrong, as one line that names the field, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a key that a model, or a dataclass, does not have."""


def first_problem(error: ValidationError, known: Sequence[str] | None = None) -> str:
    """The first problem, and how many more there are.

    known: the keys that there are, listed if another was used or one left out.
    """
    problems = error.errors(include_url=False, include_context=False)
    # A wrong key is reported before what is missing because of it.
    first = next((problem for problem in problems if problem["type"] in _UNKNOWN_KEY), problems[0])
    where = ".".join(str(part) for part in first["loc"])
    keys = "" if known is None else f"; the keys are {', '.join(known)}" if known else "; there are none"
    if first["type"] in _UNKNOWN_KEY:
        message = f"is not a known key; remove it or correct its spelling{keys}"
    elif first["type"] == "missing":
        message = f"is missing{keys}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        if not isinstance(first["input"], dict):
            message += f"; got {first['input']!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}"
