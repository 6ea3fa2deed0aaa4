"""How often a counted test repeats: full counts under ``make test-full``, a part of them under ``make test``."""

from __future__ import annotations

import os


def full_counts() -> bool:
    """Whether this run was asked for the full counts."""
    return os.environ.get("BITLAKE_FULL") == "1"


def count(*, full: int, quick: int) -> int:
    """The number of repetitions of a counted test in this run."""
    return full if full_counts() else quick
