"""One policy of waiting: what takes too long is given up, and what takes long is said."""

from __future__ import annotations

import threading
import time

import pytest

from store import patience
from store.patience import answer_seconds, within


def test_results_and_errors_pass_through() -> None:
    assert within(5, "a place", lambda: 3) == 3
    with pytest.raises(KeyError):
        within(5, "a place", lambda: {"a": 1}["x"])


def test_what_never_answers_is_given_up_and_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "WAITING_SECONDS", 0.05)
    never = threading.Event()
    before = time.monotonic()
    for _ in range(2):
        with pytest.raises(TimeoutError, match="no complete answer within"):
            within(0.2, "remote 'silent'", never.wait)
    assert time.monotonic() - before < 5
    assert capsys.readouterr().err == "waiting for remote 'silent' (up to 0 s) …\n"
    never.set()


def test_more_bytes_may_take_longer() -> None:
    assert answer_seconds(0) < answer_seconds(10**8) < 300
