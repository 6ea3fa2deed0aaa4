"""Tables as CSV: rounding, what is missing, and fields that need quotes."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest

from analysis.report.tables import csv_text


def test_nothing_stands_for_what_is_missing_and_figures_are_rounded() -> None:
    frame = pd.DataFrame(
        {
            "figure": [1 / 3, -1e-9, np.nan],
            "count": pd.array([1, None, 2], dtype="Int64"),
            "text": ["a", "", None],
            "mixed": pd.Series([64, "all", 1], dtype=object),
        }
    )
    assert csv_text(frame) == "figure,count,text,mixed\n0.333333,1,a,64\n0.0,,,all\n,2,,1\n"


@pytest.mark.parametrize(
    ("value", "text"),
    # Half a unit of the last decimal, which no binary fraction is: rounded by its exact value.
    [(0.0000015, "2e-06"), (0.1236465, "0.123647"), (2.0**-7, "0.007812"), (1e17, "1e+17"), (3.0, "3.0")],
)
def test_figures_are_rounded_by_their_exact_value(value: float, text: str) -> None:
    assert csv_text(pd.DataFrame({"value": [value]})) == f"value\n{text}\n"
    assert text == repr(round(value, 6))


def test_fields_with_commas_quotes_and_line_breaks_read_back() -> None:
    labels = ['a "quoted" label', "one, two", "first\nsecond", '"', "plain"]
    written = csv_text(pd.DataFrame({"label": labels, "n": range(5)}))
    assert '"a ""quoted"" label",0\n"one, two",1\n' in written
    assert [row["label"] for row in csv.DictReader(io.StringIO(written))] == labels
