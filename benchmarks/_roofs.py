"""The limits of this machine, measured in the process that measures everything else."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks._machine import Side, interleaved

_COPIED = 1 << 28
_CACHED = 1 << 15
_POPCOUNTS = 2000
_SGEMM = (4096, 4096, 4096)


def roofs(repetitions: int) -> dict[str, float]:
    """Rates: GFLOP/s of SGEMM, GB/s copied, read from a file in the page cache, and counted for bits in cache."""
    m, n, k = _SGEMM
    draw = np.random.default_rng(0)
    left, right = draw.standard_normal((m, k), np.float32), draw.standard_normal((k, n), np.float32)
    product = np.empty((m, n), np.float32)
    source = np.ones(_COPIED, np.uint8)
    target = np.empty_like(source)
    words = draw.integers(0, 2**63, _CACHED // 8, np.uint64)
    bits = np.empty(words.shape, np.uint8)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "bytes"
        file.write_bytes(source.data)

        def read() -> None:
            with open(file, "rb", buffering=0) as opened:
                opened.readinto(target.data)

        def count() -> None:
            for _ in range(_POPCOUNTS):
                np.bitwise_count(words, out=bits)

        sides = {
            "sgemm_gflops": Side(lambda: np.matmul(left, right, out=product)),
            "copy_gb_per_s": Side(lambda: np.copyto(target, source)),
            "file_read_gb_per_s": Side(read),
            "cached_popcount_gb_per_s": Side(count),
        }
        interleaved(sides, 1)
        times = interleaved(sides, repetitions)
    work = {
        "sgemm_gflops": 2 * m * n * k,
        "copy_gb_per_s": _COPIED,
        "file_read_gb_per_s": _COPIED,
        "cached_popcount_gb_per_s": _POPCOUNTS * _CACHED,
    }
    return {name: round(amount / median(times[name].wall) / 1e9, 2) for name, amount in work.items()}
