"""Running a stage within the budget: what it takes goes to the ledger, and what it would take is held to the caps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pipeline.budget import HOUR, Budget, check_caps, expected_gpu_hours, gpu_hours
from pipeline.ledger import Meter, read_ledger
from store.layout import Layout


@contextmanager
def metered(
    layout: Layout, budget: Budget, stage: str, keys: Mapping[str, str]
) -> Iterator[Callable[[int, int], None]]:
    """Record what the block takes, and give it what it is to tell its progress, as `Run.advanced`.

    Before the block a run is expected to take what the longest finished run of the stage took. Where it tells its
    progress, the rate since it first did and the rows that are left say what is to come. Raises
    `InvalidInput` where either would pass a cap; hours without a GPU count against none.
    """
    entries = read_ledger(layout)
    spent = gpu_hours(budget, entries)
    check_caps(budget, stage, spent, expected_gpu_hours(stage, entries))
    with Meter(layout, stage, keys) as meter:
        began: float | None = None

        def advanced(done: int, left: int) -> None:
            nonlocal began
            used = meter.note().gpu_s / HOUR
            now = time.monotonic()
            if began is None:
                began = now
            if used and done:
                to_come = (now - began) / done * left / HOUR
                check_caps(budget, stage, spent, used + to_come)

        yield advanced
