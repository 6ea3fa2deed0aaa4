"""docs/scale.md rests on what the suites measured, and says which of them is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _scale
from benchmarks._machine import FOLDER, ROOT

NAMES = ("lake", "search", "encode")


def figures() -> dict[str, Any]:
    """What the suites write, as far as the page needs it."""
    compared = ("pq 32", "hamming 512", "hamming 256", "hamming 64", "binarize 512")
    return {
        "lake": {
            "dimension": 384,
            "rows": {
                "500,000 × 384 float16": {
                    "read": {"lake, in blocks": {"gb_per_s": 2.0}},
                    "write": {"lake": {"gb_per_s": 1.0}},
                }
            },
        },
        "search": {
            "documents": 60_000,
            "queries": 200,
            "seconds": {
                **{name: {"lake": {"median_s": 0.5}, "a peer": {"median_s": 9}} for name in compared},
                "inner products": {"lake": {"median_s": 1.0}, "lake, int8": {"median_s": 1.5}},
            },
        },
        "encode": {
            "device": {"processor": "a GPU", "kind": "cuda"},
            "e1": {"precision": "float16"},
            "architectures": {
                "small": {
                    "sides": {"float32": {"documents_per_s": 500}, "float16": {"documents_per_s": 1000}}
                }
            },
        },
    }


def write(folder: Path, content: dict[str, Any]) -> None:
    for name, suite in content.items():
        (folder / f"{name}.json").write_text(json.dumps(suite))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    target = tmp_path / "scale.md"
    target.write_text(f"# Scale\n\n{_scale.BEGIN}\nold\n{_scale.END}\n\nafter\n")
    return target


def test_rates_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, figures())
    found = _scale.rates(tmp_path)
    assert (found.dimension, found.device, found.read, found.written) == (384, "a GPU", 2e9, 1e9)
    assert found.encoded == {"small": 1000}
    assert found.coded == {"Phase-1, 512 bits": 120_000}
    assert found.compared["float16 vectors"] == 12e6
    assert found.compared["INT8 codes"] == 8e6
    assert found.compared["Phase-1 codes, 64 bits"] == 24e6


def test_the_tables_of_the_page_are_written_anew_and_the_rest_stays(tmp_path: Path, page: Path) -> None:
    write(tmp_path, figures())
    assert _scale.main(tmp_path, page) == 0
    text = page.read_text()
    assert text.startswith(f"# Scale\n\n{_scale.BEGIN}\n\n| at rest |")
    assert text.endswith(f"|\n\n{_scale.END}\n\nafter\n")
    assert "| embed with small (a GPU) | 2.78 h | 27.8 h | 11.6 days |" in text
    assert "old" not in text
    assert _scale.main(tmp_path, page) == 0
    assert page.read_text() == text


MISSING: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (
        lambda content: content.pop("search"),
        "report/benchmarks/search.json: is not there; run `python -m benchmarks.search` first",
    ),
    (
        lambda content: content["search"]["seconds"].pop("pq 32"),
        "report/benchmarks/search.json: has no seconds → pq 32 → lake → median_s; run `python -m benchmarks.search` "
        "without leaving anything out",
    ),
    (
        lambda content: content["encode"]["e1"].update(precision="int8"),
        "report/benchmarks/encode.json: has no architectures → small → sides → int8 → documents_per_s; run "
        "`python -m benchmarks.encode` without leaving anything out",
    ),
    (
        lambda content: content["lake"].update(dimension="many"),
        "report/benchmarks/lake.json: dimension is 'many', expected a number",
    ),
    (
        lambda content: content["encode"]["architectures"]["small"]["sides"]["float16"].update(
            documents_per_s=0
        ),
        "encoded.small is 0.0: measure it again, a rate is above zero and finite",
    ),
]


@pytest.mark.parametrize(("change", "message"), MISSING)
def test_a_missing_rate_is_one_line_and_the_page_stays(
    change: Callable[[dict[str, Any]], Any],
    message: str,
    tmp_path: Path,
    page: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content, before = figures(), page.read_text()
    change(content)
    write(tmp_path, content)
    assert _scale.main(tmp_path, page) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert page.read_text() == before


def test_a_file_that_is_none_and_a_page_without_a_place_are_named(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, figures())
    page.write_text("# Scale\n")
    assert _scale.main(tmp_path, page) == 1
    (tmp_path / "search.json").write_text("{")
    assert _scale.main(tmp_path, page) == 1
    assert capsys.readouterr().err == (
        f"error: docs/scale.md: has no lines {_scale.BEGIN!r} and {_scale.END!r} between which the tables go\n"
        "error: report/benchmarks/search.json: is not JSON; run `python -m benchmarks.search` again\n"
    )


def test_the_committed_page_has_a_place_for_the_tables() -> None:
    assert _scale.BEGIN in _scale.PAGE.read_text()
    assert _scale.END in _scale.PAGE.read_text()


@pytest.mark.skipif(
    not all((FOLDER / f"{name}.json").is_file() for name in NAMES), reason="not every suite has been run"
)
def test_the_committed_page_is_what_the_committed_figures_give() -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    assert _scale.page(text, _scale.rates()) == text, "run `make scale`"
