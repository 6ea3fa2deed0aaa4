"""The compute ledger: what every run of a stage took, in files of this machine alone.

It is no artifact: times would make two runs of one stage differ. A run is entered when it starts and brought up to
date while it goes on, so that of a run that was killed what it took so far is known.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from store.errors import DamagedArtifact
from store.layout import Layout
from store.leaf.commit import write_file

Outcome = Literal["finished", "failed", "unfinished"]
_OUTCOMES = ("finished", "failed", "unfinished")


@dataclass(frozen=True)
class Usage:
    """What one run took.

    Attributes:
        outcome: a run that is going on, or was killed, is unfinished.
        started: UTC, ISO 8601.
        wall_s, cpu_s: seconds; those of the processor are of all threads, and of child processes that have ended.
        gpu_s: seconds that the run held a GPU: all of them once it has used one.
        peak_bytes: the largest resident size of the process, or of one of its children.
        gpu_peak_bytes: the most that torch held of the GPU's memory.
        device: ``cpu``, or the GPU's name.
    """

    outcome: Outcome
    started: str
    wall_s: float
    cpu_s: float
    gpu_s: float
    peak_bytes: int
    gpu_peak_bytes: int
    device: str


@dataclass(frozen=True)
class Entry:
    """All runs of one stage for one cell (or dataset, or study), the first first."""

    stage: str
    keys: Mapping[str, str]
    runs: tuple[Usage, ...] = field(default=())


def read_ledger(layout: Layout) -> list[Entry]:
    """Every entry, sorted by stage and keys. Raises `DamagedArtifact` for a file that is none."""
    return [_read(path) for path in sorted(layout.ledger.glob("*.json"))]


class Meter:
    """Enters a run into the ledger: on entering the block, at every `note`, and when it ends, however it does."""

    def __init__(self, layout: Layout, stage: str, keys: Mapping[str, str]) -> None:
        self._layout = layout
        self._file = layout.ledger / ("--".join([stage, *keys.values()]) + ".json")
        self._entry = _read(self._file) if self._file.exists() else Entry(stage, dict(keys))

    def __enter__(self) -> Self:
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        self.note()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("finished" if error is None else "failed")

    def note(self) -> Usage:
        """Enter what the run took so far."""
        return self._write("unfinished")

    def _write(self, outcome: Outcome) -> Usage:
        wall = time.monotonic() - self._wall
        device, held, gpu_peak = _gpu()
        usage = Usage(
            outcome=outcome,
            started=self._started,
            wall_s=round(wall, 3),
            cpu_s=round(_cpu_seconds() - self._cpu, 3),
            gpu_s=round(wall, 3) if held else 0.0,
            peak_bytes=_peak_bytes(),
            gpu_peak_bytes=gpu_peak,
            device=device,
        )
        entry = replace(self._entry, runs=(*self._entry.runs, usage))
        content = json.dumps(asdict(entry), indent=2) + "\n"
        write_file(self._layout, self._file, content.encode())
        return usage


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_bytes() -> int:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def _gpu() -> tuple[str, bool, int]:
    """Name of the device, whether it is a GPU that this process has used, and the peak of its memory."""
    # A stage that has not imported torch has used no GPU, and is not to wait for the import.
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return "cpu", False, 0
    return torch.cuda.get_device_name(), True, int(torch.cuda.max_memory_allocated())


def _read(path: Path) -> Entry:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(Usage(**run) for run in content["runs"])
        if any(run.outcome not in _OUTCOMES or min(_numbers(run)) < 0 for run in runs):
            raise ValueError("an outcome or a number that no run has")
        return Entry(str(content["stage"]), dict(content["keys"]), runs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = os.path.join(*path.parts[-3:])
        raise DamagedArtifact(
            f"{where}: is no entry of the ledger ({type(error).__name__}); remove it, its hours are lost"
        ) from error


def _numbers(run: Usage) -> tuple[float, ...]:
    return (run.wall_s, run.cpu_s, run.gpu_s, run.peak_bytes, run.gpu_peak_bytes)
