"""How far encoding is: documents and tokens a second, and the time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

_SECONDS = 10.0
"""Where there is no terminal, a line at most this often, and at most one a slab."""


class EncodingProgress:
    """A bar on a terminal; elsewhere lines on the standard error stream, none for what is done within seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._done = self._encoded = self._tokens = 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, desc=self._what, unit="texts", leave=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, texts: int, tokens: int) -> None:
        """Count texts as encoded; both numbers are negative where a batch has to be encoded again."""
        self._done, self._encoded, self._tokens = (
            self._done + texts,
            self._encoded + texts,
            self._tokens + tokens,
        )
        if self._bar is not None:
            self._bar.set_postfix_str(self._token_rate(), refresh=False)
            self._bar.update(texts)

    def take_over(self, texts: int) -> None:
        """Count texts that need not be encoded; they say nothing about the rate."""
        self._done += texts
        if self._bar is not None:
            self._bar.initial += texts
            self._bar.update(texts)

    def end_slab(self) -> None:
        """Say how far it is, where there is no terminal and it is time to."""
        now = time.monotonic()
        if self._bar is not None or self._done >= self._total or now - self._last < _SECONDS:
            return
        self._last = now
        rate = self._encoded / (now - self._start)
        left = f"{(self._total - self._done) / rate:.0f} s left" if rate else "time left unknown"
        rates = ", ".join(filter(None, [f"{rate:.1f} texts/s", self._token_rate()]))
        print(
            f"  {self._what}: {self._done}/{self._total} texts, {rates}, {left}", file=sys.stderr, flush=True
        )

    def _token_rate(self) -> str:
        elapsed = time.monotonic() - self._start
        return f"{self._tokens / elapsed:.0f} tokens/s" if self._tokens and elapsed else ""
