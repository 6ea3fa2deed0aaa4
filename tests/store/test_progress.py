"""How far a loop is: rates and the time left, seldom where there is no terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from store.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("store.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_at_most_every_ten_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("m", 100, "texts", "tokens") as watched:
        for second, texts in ((4, 10), (11, 20), (12, 30)):
            clock[0] = second
            watched.advance(texts, texts * 50)
        clock[0] = 50
        watched.advance(40, 2000)
    printed = capsys.readouterr()
    assert printed.out == ""
    # Nothing for the first seconds, nothing again a second later, nothing once it is done.
    assert printed.err == "  m: 30/100 texts, 2.7 texts/s, 136 tokens/s, 26 s left\n"


def test_what_was_taken_over_or_is_encoded_twice_does_not_count(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("m", 1000, "texts", "tokens") as watched:
        watched.take_over(800)
        watched.advance(50, 0)
        watched.advance(-50, 0)
        clock[0] = 20
        watched.advance(100, 0)
    assert capsys.readouterr().err == "  m: 900/1000 texts, 5.0 texts/s, 20 s left\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_both_rates_and_no_lines(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("m", 100, "texts", "tokens") as watched:
        watched.take_over(20)
        clock[0] = 60
        # The bar is drawn ten times a second at most, by a clock of its own.
        time.sleep(0.15)
        watched.advance(30, 1200)
    drawn = terminal.getvalue()
    assert " 50/100 " in drawn
    assert "20 tokens/s" in drawn
    assert "texts/s" in drawn
    assert "\n" not in drawn


def test_a_finished_bar_is_gone_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress("encode", 5, "codes")
    assert [len(block) for block in progress.watch([[1, 2], [3, 4, 5]])] == [2, 3]
    assert terminal.getvalue().endswith("\r")


def test_rows_and_items_count_where_only_one_thing_is_counted(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    blocks, items = Progress("encode", 40, "codes"), Progress("fit", 4, "configurations")
    for block in blocks.watch([range(10), range(10)]):
        clock[0] += 10
        assert len(block) == 10
    for item in items.count("ab"):
        clock[0] += 10
        assert item in "ab"
    # A block is done when the next is asked for.
    assert capsys.readouterr().err.splitlines() == [
        "  encode: 10/40 codes, 1.0 codes/s, 30 s left",
        "  encode: 20/40 codes, 1.0 codes/s, 20 s left",
        "  fit: 1/4 configurations, 0.0 configurations/s, 90 s left",
        "  fit: 2/4 configurations, 0.1 configurations/s, 40 s left",
    ]
