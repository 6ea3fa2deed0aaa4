"""How long anything outside this machine is waited for: one policy for remotes, Git URLs, the hub and Dask's scheduler.

Waiting for longer than `WAITING_SECONDS` is reported, once for each place, so that no command is silent for long.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

CONNECT_SECONDS = 10
"""Upper bound for a connection to be made."""

READ_SECONDS = 30
"""Upper bound for the next bytes to come on a connection."""

ANSWER_SECONDS = 60
"""Upper bound for a whole answer, the client's own retries included, if it brings next to nothing."""

LEAST_BYTES = 100_000
"""Bytes that must arrive within `ANSWER_SECONDS` from a place that sends for hours."""

SLOWEST_BYTES = 1_000_000
"""Bytes a second that a place has to send at least, beside `ANSWER_SECONDS`."""

CLONE_SECONDS = 900
"""Upper bound for a whole repository."""

WAITING_SECONDS = 4
"""After so long a line says what is waited for."""

_T = TypeVar("_T")
_said: set[str] = set()


def answer_seconds(size: int = 0, requests: int = 1) -> float:
    """Upper bound for an answer of ``size`` bytes, or for that many small ones that are asked for side by side."""
    return ANSWER_SECONDS + size / SLOWEST_BYTES + requests / 10


def while_growing(what: str, call: Callable[[], _T], size: Callable[[], int]) -> _T:
    """What ``call`` returns or raises, however long it takes, as long as bytes come.

    ``size`` is how many are here. `TimeoutError` where fewer than `LEAST_BYTES` more come within `ANSWER_SECONDS`.
    """
    started = _Started(what, call)
    before = size()
    while not started.wait(ANSWER_SECONDS):
        if (now := size()) < before + LEAST_BYTES:
            raise TimeoutError(f"next to nothing came within {ANSWER_SECONDS:.0f} s")
        before = now
    return started.result()


def within(seconds: float, what: str, call: Callable[[], _T]) -> _T:
    """What ``call`` returns or raises; `TimeoutError` where that takes longer. ``what`` names the place in messages.

    A call that is given up goes on in a thread that does not keep the process alive.
    """
    started = _Started(what, call)
    if not started.wait(seconds):
        raise TimeoutError(f"no complete answer within {seconds:.0f} s")
    return started.result()


class _Started(Generic[_T]):
    """A call that runs in a thread of its own."""

    def __init__(self, what: str, call: Callable[[], _T]) -> None:
        self._what, self._call = what, call
        self._done = threading.Event()
        self._answer: list[_T] = []
        self._failure: BaseException | None = None
        threading.Thread(target=self._work, name=f"waiting for {what}", daemon=True).start()

    def _work(self) -> None:
        try:
            self._answer.append(self._call())
        except BaseException as error:
            self._failure = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Whether the call ends within so long; said aloud, once for each place, where that is not at once."""
        first = min(WAITING_SECONDS, seconds)
        if self._done.wait(first):
            return True
        if first < seconds and self._what not in _said:
            _said.add(self._what)
            print(f"waiting for {self._what} (up to {seconds:.0f} s) …", file=sys.stderr, flush=True)
        return self._done.wait(seconds - first)

    def result(self) -> _T:
        """What the call returned; raises what it raised."""
        if self._failure is not None:
            raise self._failure
        return self._answer[0]
