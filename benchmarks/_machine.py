"""What a figure was measured on, and where suites put their figures; nothing that names the machine."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from store.threads import cores

PACKAGES = ("dvc", "faiss-cpu", "google-crc32c", "numpy", "zarr", "zarrs")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "report" / "benchmarks"


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Cores that this process may use, memory in GiB, processor, system, versions."""
    return {
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def summary(seconds: Sequence[float]) -> dict[str, float | int]:
    """Median and largest of the repetitions, in seconds."""
    return {
        "median_s": round(median(seconds), 3),
        "max_s": round(max(seconds), 3),
        "repetitions": len(seconds),
    }


@dataclass(frozen=True)
class Times:
    """Wall and processor seconds of a side, one of each a repetition; processor time is that of all threads."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """What is timed, and what is done before each time without being timed."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def interleaved(sides: Mapping[str, Side], repetitions: int, seconds: float = 0.0) -> dict[str, Times]:
    """Times of each side, in turns, every other round in reverse, so that a slow moment of the machine affects all.

    There are this many repetitions, and more until this many seconds are spent, because short work is disturbed most.
    Nothing is warmed up: callers do that when they check that the sides agree.
    """
    times = {name: Times() for name in sides}
    start = time.perf_counter()
    for repetition in itertools.count():
        if repetition >= repetitions and time.perf_counter() - start >= seconds:
            break
        for name in list(sides)[:: 1 if repetition % 2 == 0 else -1]:
            sides[name].prepare()
            wall, cpu = time.perf_counter(), time.process_time()
            sides[name].run()
            times[name].wall.append(time.perf_counter() - wall)
            times[name].cpu.append(time.process_time() - cpu)
    return times


def compared(times: Mapping[str, Times], base: str, size: int) -> dict[str, dict[str, float | int]]:
    """A summary of each side with its rate for ``size`` bytes, and its speed relative to ``base`` in the same round.

    Processor time shows what a side costs when others use the machine as well and wall time says little.
    """
    found = {}
    for name, taken in times.items():
        ratios = [roof / ours for roof, ours in zip(times[base].wall, taken.wall, strict=True)]
        processor = [roof / ours for roof, ours in zip(times[base].cpu, taken.cpu, strict=True) if ours]
        found[name] = {
            **summary(taken.wall),
            "min_s": round(min(taken.wall), 3),
            "cpu_s": round(median(taken.cpu), 3),
            "gb_per_s": round(size / median(taken.wall) / 1e9, 3),
            "of_base": round(median(ratios), 2),
            "of_base_min": round(min(ratios), 2),
            "of_base_max": round(max(ratios), 2),
            "of_base_cpu": round(median(processor or [1.0]), 2),
        }
    return found


def write(suite: str, figures: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write a suite's figures with the description of the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{suite}.json"
    target.write_text(json.dumps({"machine": describe(), **figures}, indent=2) + "\n", encoding="utf-8")
    return target
