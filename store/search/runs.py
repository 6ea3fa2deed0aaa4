"""Blocks of codes joined into longer runs, for a search whose heap starts empty in each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Search: TypeAlias = Callable[[NDArray[np.uint8], int], None]
"""Takes (documents, bytes) uint8 codes, contiguous in memory, and the row of the first."""

RUN_BYTES = 1 << 25
"""Codes of a run: half a million documents of 512 bits."""


class Runs:
    """Passes consecutive blocks to `search` as runs of about `RUN_BYTES`, and any others one by one."""

    def __init__(self, search: Search, width: int) -> None:
        self._search = search
        self._buffer = np.empty((max(1, RUN_BYTES // width), width), dtype=np.uint8)
        self._first_row = 0
        self._held = 0

    def add(self, block: NDArray[np.uint8], first_row: int) -> None:
        """Take the (documents, bytes) codes of which the first is row `first_row`: search them now, or hold a copy."""
        is_run = 2 * len(block) >= len(self._buffer) and block.flags.c_contiguous
        if is_run or first_row != self._first_row + self._held:
            self.flush()
        if is_run:
            self._search(block, first_row)
            return
        while len(block):
            if not self._held:
                self._first_row = first_row
            some = block[: len(self._buffer) - self._held]
            self._buffer[self._held : self._held + len(some)] = some
            self._held += len(some)
            block, first_row = block[len(some) :], first_row + len(some)
            if self._held == len(self._buffer):
                self.flush()

    def flush(self) -> None:
        """Search what is held."""
        if self._held:
            held, self._held = self._held, 0
            self._search(self._buffer[:held], self._first_row)
