"""Tables of the report as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.quality.figures import DIGITS

if TYPE_CHECKING:
    import pandas as pd


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV: figures rounded to `DIGITS` decimals, an empty field for what is missing, fields quoted where
    they hold a comma, a quote or a line break."""
    return frame.to_csv(index=False, lineterminator="\n", float_format=_rounded)


def _rounded(value: Any) -> str:
    # + 0.0 so that a rounded negative zero is not written with its sign.
    return repr(round(float(value), DIGITS) + 0.0)
