"""How far encoding is: rates and the time left, seldom where there is no terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from store.encoders.progress import EncodingProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("store.encoders.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_a_slab_at_most_every_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with EncodingProgress("m", 100) as watched:
        for second, texts in ((4, 10), (11, 20), (12, 30)):
            clock[0] = second
            watched.advance(texts, texts * 50)
            watched.end_slab()
        clock[0] = 50
        watched.advance(40, 2000)
        watched.end_slab()
    printed = capsys.readouterr()
    assert printed.out == ""
    # Nothing for the first seconds, nothing again a second later, nothing once it is done.
    assert printed.err == "  m: 30/100 texts, 2.7 texts/s, 136 tokens/s, 26 s left\n"


def test_what_was_taken_over_or_is_encoded_twice_does_not_count(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with EncodingProgress("m", 1000) as watched:
        watched.take_over(800)
        watched.advance(50, 0)
        watched.advance(-50, 0)
        watched.advance(100, 0)
        clock[0] = 20
        watched.end_slab()
    assert capsys.readouterr().err == "  m: 900/1000 texts, 5.0 texts/s, 20 s left\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_both_rates_and_no_lines(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with EncodingProgress("m", 100) as watched:
        watched.take_over(20)
        clock[0] = 60
        # The bar is drawn ten times a second at most, by a clock of its own.
        time.sleep(0.15)
        watched.advance(30, 1200)
        watched.end_slab()
    drawn = terminal.getvalue()
    assert " 50/100 " in drawn
    assert "20 tokens/s" in drawn
    assert "texts/s" in drawn
    assert "\n" not in drawn
