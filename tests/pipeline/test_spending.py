"""Every stage is entered into the ledger, and stops where it would pass its cap."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from pipeline import budget
from pipeline.ledger import Entry, read_ledger
from pipeline.spending import metered
from store.errors import InvalidInput
from store.layout import Layout
from tests.pipeline.test_ledger import Gpu
from tests.stages.projects import make_project, run
from tests.store.leaf.test_commit import digests

CELL = ("--model", "lsa-32", "--dataset", "first")


def runs(root: Path, stage: str) -> list[str]:
    return [
        usage.outcome for entry in read_ledger(Layout(root)) if entry.stage == stage for usage in entry.runs
    ]


def test_stages_are_entered_and_failures_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path)
    assert run(tmp_path, "embed", *CELL) == 1
    assert run(tmp_path, "corpus", *CELL[2:], "--check") == 0
    assert run(tmp_path, "corpus", *CELL[2:]) == 0
    assert run(tmp_path, "embed", *CELL) == 0
    assert runs(tmp_path, "embed") == ["failed", "finished"]
    assert runs(tmp_path, "corpus") == ["finished"]
    before = digests(tmp_path / "lake.zarr")
    assert run(tmp_path, "embed", *CELL) == 0
    assert runs(tmp_path, "embed") == ["failed", "finished", "finished"]
    assert digests(tmp_path / "lake.zarr") == before
    # A mistake in the parameters is found before anything begins.
    assert run(tmp_path, "embed", "--model", "none", "--dataset", "first") == 1
    assert len(runs(tmp_path, "embed")) == 3


def test_a_damaged_entry_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path)
    assert run(tmp_path, "corpus", *CELL[2:]) == 0
    (tmp_path / ".bitlake/ledger/corpus--first.json").write_text("{")
    capsys.readouterr()
    assert run(tmp_path, "corpus", *CELL[2:]) == 1
    assert capsys.readouterr().err.startswith("error: .bitlake/ledger/corpus--first.json: is no entry")


def set_caps(root: Path, **caps: float) -> None:
    content = yaml.safe_load((root / budget.BUDGET).read_text())
    content["caps"] |= caps
    (root / budget.BUDGET).write_text(yaml.safe_dump(content))


@pytest.fixture
def hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Hours on the clock of a machine with a GPU: the only entry is what a test moves it to."""
    make_project(tmp_path)
    set_caps(tmp_path, core=10, all=20)
    now = [0.0]
    monkeypatch.setitem(sys.modules, "torch", Gpu)
    monkeypatch.setattr("time.monotonic", lambda: now[0] * 3600)
    return now


def spend(root: Path, hours: list[float], stage: str, taken: float) -> None:
    with metered(Layout(root), budget.load(root), stage, {"model": "m", "dataset": stage}):
        hours[0] += taken


def test_the_rate_of_what_is_done_says_what_is_to_come(tmp_path: Path, hours: list[float]) -> None:
    plan = budget.load(tmp_path)
    spend(tmp_path, hours, "embed", 2)
    with metered(Layout(tmp_path), plan, "embed", {"model": "m", "dataset": "d"}) as advanced:
        hours[0] += 1
        advanced(0, 1000)
        hours[0] += 0.5
        # 100 rows took half an hour: 2 + 1.5 + 4.5 are within the cap of 10.
        advanced(100, 900)
        hours[0] += 0.5
        advanced(200, 800)
        # Slower from here on: 300 rows in 3 hours, 400 more would take 4.
        hours[0] += 2
        message = r"^studies/budget\.yaml: caps\.core: embed would bring it to 10\.7 GPU-hours \(2 spent"
        with pytest.raises(InvalidInput, match=message):
            advanced(300, 467)


def test_before_it_starts_a_stage_is_expected_to_take_what_it_took(
    tmp_path: Path, hours: list[float]
) -> None:
    spend(tmp_path, hours, "embed", 6)
    with pytest.raises(
        InvalidInput, match=r"^studies/budget\.yaml: caps\.core: embed would bring it to 12 GPU-hours"
    ):
        spend(tmp_path, hours, "embed", 1)
    # Nothing was entered, and a stage that has taken no GPU before is not held back.
    assert runs(tmp_path, "embed") == ["finished"]
    spend(tmp_path, hours, "quantize", 1)


def test_a_raised_cap_lets_it_go_on(tmp_path: Path, hours: list[float]) -> None:
    spend(tmp_path, hours, "embed", 6)
    set_caps(tmp_path, core=12)
    spend(tmp_path, hours, "embed", 1)
    assert runs(tmp_path, "embed") == ["finished", "finished"]


def test_without_a_gpu_nothing_is_stopped(tmp_path: Path) -> None:
    make_project(tmp_path)
    set_caps(tmp_path, core=0, exploratory=0, all=0)
    with metered(Layout(tmp_path), budget.load(tmp_path), "embed", {"model": "m"}) as advanced:
        advanced(0, 10**9)
        advanced(1, 10**9)
    assert read_ledger(Layout(tmp_path)) != []
    assert isinstance(read_ledger(Layout(tmp_path))[0], Entry)
