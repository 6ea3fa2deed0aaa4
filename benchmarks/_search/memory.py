"""Peak memory of a whole process that searches the lake: ``python -m benchmarks._search.memory FOLDER KIND K``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._machine import ROOT
from benchmarks._vectors import mixtures, random_codes, stored
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.reading import open_leaf
from store.leaf.schema import Field, Schema
from store.search.adc import CENTROIDS
from store.search.hamming import HammingTopK
from store.search.inner_product import InnerProductTopK
from store.search.neighbours import Neighbours

BITS = 512
PQ_BYTES = (8, 32, 64)
KINDS = ("float16", f"phase1-{BITS}", "int8", *(f"pq-{size}" for size in PQ_BYTES))
_KEYS = {"kind": "drawn"}


def _schema(dtype: str) -> Schema:
    return Schema(
        "rows", ("kind",), {"documents": Field(("document", "byte"), dtype, "drawn", rows="document")}
    )


def _dtype(kind: str) -> str:
    return "float16" if kind == "float16" else "uint8"


def _width(kind: str, dimension: int) -> int:
    name, _, size = kind.partition("-")
    return BITS // 8 if name == "phase1" else int(size) if size else dimension


def _write(folder: Path, kind: str, rows: int, base: NDArray[np.float32]) -> None:
    width = _width(kind, base.shape[1])
    blocks: Iterator[tuple[int, NDArray[Any]]]
    blocks = mixtures(base, rows, 0) if kind == "float16" else random_codes(rows, width)
    with commit_leaf(Layout(folder), _schema(_dtype(kind)), _KEYS) as leaf:
        leaf.fill(leaf.create("documents", (rows, width)), (block for _, block in blocks))


def search(folder: Path, kind: str, k: int) -> Neighbours:
    """Search the leaf below ``folder`` with its queries."""
    leaf = open_leaf(Layout(folder).leaf("rows", _KEYS), _schema(_dtype(kind)))
    queries: NDArray[np.float16] = np.load(folder / "queries.npy")
    draw = np.random.RandomState(0)
    top: Any
    if kind == "float16":
        top = InnerProductTopK(queries, k)
    elif kind == "int8":
        spread = np.full(queries.shape[1], 0.2)
        top = Int8Codec().search({"minimum": -spread, "step": 2 * spread / 255}, queries, k)
    elif kind.startswith("pq"):
        parts = leaf.arrays["documents"].shape[1]
        codebooks = 0.05 * draw.standard_normal((parts, CENTROIDS, queries.shape[1] // parts))
        top = PQCodec(parts, 0, 1).search({"codebooks": codebooks.astype(np.float16)}, queries, k)
    else:
        top = HammingTopK(draw.randint(0, 256, (len(queries), BITS // 8)).astype(np.uint8), k)
    for first, block in leaf.blocks("documents"):
        top.update(block, first)
    found: Neighbours = top.result()
    return found


def _peak_mb() -> float:
    """Most memory this process has held, in MB; unlike getrusage's, not that of the process it was started from."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024 / 1e6


def peaks(sizes: Sequence[int], queries: int, k: int) -> dict[str, dict[str, float]]:
    """MB by kind of code and number of documents, each in a process of its own."""
    base = stored()
    found: dict[str, dict[str, float]] = {}
    for rows in sizes:
        for kind in KINDS:
            with TemporaryDirectory() as temporary:
                folder = Path(temporary)
                (block,) = (block for _, block in mixtures(base, queries, 1))
                np.save(folder / "queries.npy", block)
                _write(folder, kind, rows, base)
                command = [sys.executable, "-m", "benchmarks._search.memory", temporary, kind, str(k)]
                done = subprocess.run(
                    command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise SystemExit(f"memory of {kind}: {done.stderr.strip().splitlines()[-1]}")
                found.setdefault(kind, {})[str(rows)] = float(done.stdout)
            print(f"peak memory {kind:12} {rows:>9,} documents {found[kind][str(rows)]:8.0f} MB", flush=True)
    return found


if __name__ == "__main__":
    search(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(round(_peak_mb(), 1))
