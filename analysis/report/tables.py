"""Tables of the report as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.quality.figures import DIGITS

if TYPE_CHECKING:
    import pandas as pd


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV: figures rounded to `DIGITS` decimals, an empty field for what is missing, fields quoted where
    they hold a comma, a quote or a line break."""
    return frame.to_csv(index=False, lineterminator="\n", float_format=_rounded)


def records(frame: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as data of a Vega-Lite chart: null for a figure that is missing, as JSON has no NaN."""
    shown = frame[list(columns)].astype(object)
    found: Any = shown.where(shown.notna(), None).to_dict("records")
    return list(found)


def _rounded(value: Any) -> str:
    # + 0.0 so that a rounded negative zero is not written with its sign.
    return repr(round(float(value), DIGITS) + 0.0)
