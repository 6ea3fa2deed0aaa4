"""Progress of a long loop: the rate and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
B = TypeVar("B", bound=Sized)

_SECONDS = 10.0
"""Without a terminal, a line at most this often."""


def unwatched(first: int, second: int) -> None:
    """Default no-op progress callback."""


class Progress:
    """A bar on a terminal; elsewhere lines on the standard error stream, none for what is done within seconds.

    what: what is done. total: how much of it there is, in ``unit``. second_unit: of what else is counted on the way,
    such as the tokens of texts; empty where nothing is.
    """

    def __init__(self, what: str, total: int, unit: str, second_unit: str = "") -> None:
        self._what, self._total, self._unit, self._second_unit = what, total, unit, second_unit
        self._done = self._advanced = self._second = 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit=unit, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def watch(self, blocks: Iterable[B]) -> Iterator[B]:
        """Pass blocks on, counting their rows as done."""
        for block in blocks:
            yield block
            self.advance(len(block))

    def count(self, items: Iterable[T]) -> Iterator[T]:
        """Pass items on, counting each as done."""
        for item in items:
            yield item
            self.advance(1)

    def advance(self, amount: int, second: int = 0) -> None:
        """Count so much as done, in both units; negative amounts take back what has to be done again."""
        self._done += amount
        self._advanced += amount
        self._second += second
        if self._bar is not None:
            self._bar.set_postfix_str(self._second_rate(), refresh=False)
            self._bar.update(amount)
            if self._done >= self._total:
                self._bar.close()
        elif amount > 0:
            self._print()

    def take_over(self, amount: int) -> None:
        """Count so much as done that needed no work; it says nothing about the rate."""
        self._done += amount
        if self._bar is not None:
            self._bar.initial += amount
            self._bar.update(amount)

    def _print(self) -> None:
        now = time.monotonic()
        if self._done >= self._total or now - self._last < _SECONDS:
            return
        self._last = now
        rate = self._advanced / (now - self._start)
        left = f"{(self._total - self._done) / rate:.0f} s left" if rate > 0 else "time left unknown"
        rates = ", ".join(filter(None, [f"{rate:.1f} {self._unit}/s", self._second_rate()]))
        print(
            f"  {self._what}: {self._done}/{self._total} {self._unit}, {rates}, {left}",
            file=sys.stderr,
            flush=True,
        )

    def _second_rate(self) -> str:
        elapsed = time.monotonic() - self._start
        return f"{self._second / elapsed:.0f} {self._second_unit}/s" if self._second and elapsed else ""
