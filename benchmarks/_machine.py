"""What a figure was measured on, and where suites put their figures; nothing that names the machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

PACKAGES = ("dvc", "faiss-cpu", "numpy", "zarr")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "report" / "benchmarks"


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Cores that this process may use, memory in GiB, processor, system, versions."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": usable,
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


def write(suite: str, figures: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write a suite's figures beside the description of the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{suite}.json"
    target.write_text(json.dumps({"machine": describe(), **figures}, indent=2) + "\n", encoding="utf-8")
    return target
