"""How fast codes are made and searched, against Faiss, usearch and BitBudget: ``python -m benchmarks.search``.

All sides use the same vectors, the same number of threads and the same process, in turns. Before anything is timed,
its results are compared with those of its peers, ties aside. A speed is a ratio to a peer in the same round. Peers
that take half a minute for all of it are compared with fewer queries.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._machine import FOLDER, Side, Times, compared, interleaved, write
from benchmarks._roofs import roofs
from benchmarks._search import sides
from benchmarks._search.cell import cell_times
from benchmarks._search.memory import peaks
from benchmarks._search.sides import FAISS_PQ, FLAT, LAKE, Data, Work
from store.libraries import BLAS_THREADS, openmp_threads
from store.threads import cores

DOCUMENTS, QUERIES = 500_000, 1_000
PQ_BYTES = (8, 32, 64)
REPETITIONS = 5
SECONDS = 40.0
LARGE = 5_000_000


def measure(work: Work, repetitions: int, seconds: float) -> dict[str, Times]:
    """Times of every side, after one round that warms up and in which they must agree."""
    work.agree({name: side() for name, side in work.sides.items()})
    return interleaved({name: Side(side) for name, side in work.sides.items()}, repetitions, seconds)


@dataclass(frozen=True)
class Bar:
    """A line of the table: the speed of ``side`` as a multiple of that of the fastest of ``peers``."""

    work: str
    side: str
    peers: tuple[str, ...]
    goal: float


def bars() -> list[tuple[str, Callable[[Data], Work], list[Bar]]]:
    """Every comparison with the bars that it decides; a goal of 0 is none."""
    faiss_binary = ("Faiss, heap, 32", sides.HEAP, "Faiss, counting, 32")
    every: list[tuple[str, Callable[[Data], Work], list[Bar]]] = [
        (
            f"binarize {max(sides.BITS)}",
            sides.binarize,
            [Bar(f"binarize to {max(sides.BITS)} bits", LAKE, ("SGEMM",), 1 / 2.5)],
        ),
        *(
            (
                f"hamming {bits}",
                lambda data, bits=bits: sides.hamming(data, bits),
                [
                    Bar(f"binary search, {bits} bits", LAKE, faiss_binary, 0.95),
                    Bar(f"Faiss against itself, {bits} bits", sides.HEAP_AGAIN, (sides.HEAP,), 0),
                ],
            )
            for bits in sides.BITS
        ),
        *(
            (
                f"hamming {bits}, {sides.FEW} queries",
                lambda data, bits=bits: sides.hamming_usearch(data.few(), bits),
                [Bar(f"binary search, {bits} bits, {sides.FEW} queries", LAKE, ("usearch",), 0.95)],
            )
            for bits in sides.BITS
        ),
        (
            f"signs, {sides.FEW} queries",
            lambda data: sides.hamming_bitbudget(data.few()),
            [Bar(f"search of signs, {sides.FEW} queries", LAKE, ("BitBudget",), 0.95)],
        ),
        (
            "inner products",
            sides.inner_products,
            [
                Bar("float, re-scored in float64", LAKE, (FLAT,), 0.9),
                Bar("int8", "lake, int8", (FLAT,), 0.9),
                Bar("float, of one SGEMM", LAKE, ("SGEMM",), 0),
                Bar("int8, of one SGEMM", "lake, int8", ("SGEMM",), 0),
            ],
        ),
        (
            f"int8, {sides.FEW} queries",
            lambda data: sides.int8_faiss(data.few()),
            [Bar(f"int8, {sides.FEW} queries", LAKE, ("Faiss, scalar",), 0.9)],
        ),
        *(
            (
                f"pq {size}",
                lambda data, size=size: sides.product_codes(data, size),
                [Bar(f"PQ search, {size} bytes", LAKE, (FAISS_PQ,), 0.95)],
            )
            for size in PQ_BYTES
        ),
        (
            "pq 32, fit",
            lambda data: sides.product_fitting(data, 32),
            [Bar("PQ fit, 32 bytes", LAKE, (FAISS_PQ,), 0.8)],
        ),
        (
            "pq 32, encode",
            lambda data: sides.product_encoding(data, 32),
            [Bar("PQ encode, 32 bytes", LAKE, (FAISS_PQ,), 0.95)],
        ),
    ]
    return every


def reached(bar: Bar, times: Mapping[str, Times]) -> dict[str, Any]:
    """The bar with the median, least and greatest ratio over the rounds to the peer that is fastest by its median."""
    peer = min(bar.peers, key=lambda name: median(times[name].wall))
    theirs, ours = times[peer], times[bar.side]
    ratios = [their / our for their, our in zip(theirs.wall, ours.wall, strict=True)]
    processor = [their / our for their, our in zip(theirs.cpu, ours.cpu, strict=True)]
    return {
        "work": bar.work,
        "peer": peer,
        "goal": round(bar.goal, 2),
        "speed": _digits(median(ratios)),
        "speed_min": _digits(min(ratios)),
        "speed_max": _digits(max(ratios)),
        "speed_cpu": _digits(median(processor)),
    }


def _digits(ratio: float) -> float:
    """Significant digits, not decimals: a ratio far below 1 is not nothing, one just below its bar is not on it."""
    return float(f"{ratio:.4g}")


def print_bar(found: Mapping[str, Any]) -> None:
    """One line of the table."""
    goal = f"≥ {found['goal']:.2f}" if found["goal"] else ""
    short = "  below" if found["speed"] < found["goal"] else ""
    print(
        f"{found['work']:38}{found['peer']:22}{goal:>7} {found['speed']:6.2f}"
        f"  ({found['speed_min']:.2f} – {found['speed_max']:.2f})  CPU {found['speed_cpu']:5.2f}{short}",
        flush=True,
    )


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Measure, print and write ``report/benchmarks/search.json``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument(
        "--large", type=int, default=LARGE, help="documents of the second measurement of memory"
    )
    parser.add_argument(
        "--only",
        default="",
        help="print comparisons whose name holds this text, memory or cell, and write nothing",
    )
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="least rounds of a comparison")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="least seconds of a comparison")
    chosen = parser.parse_args(arguments)
    threads = cores()
    figures: dict[str, Any] = {
        "documents": chosen.documents,
        "queries": chosen.queries,
        "k": sides.K,
        "threads": threads,
    }
    with openmp_threads(threads), BLAS_THREADS.at(threads):
        figures["roofs"] = roofs(chosen.repetitions)
        print(figures["roofs"])
        data = Data.drawn(chosen.documents, chosen.queries)
        figures["seconds"], figures["bars"] = {}, []
        print(f"{'':38}{'fastest peer':22}{'goal':>7}  speed as a multiple of the peer's")
        for name, make, decided in bars():
            if chosen.only not in name:
                continue
            times = measure(make(data), chosen.repetitions, chosen.seconds)
            size = data.documents.nbytes
            figures["seconds"][name] = compared(times, next(iter(times)), size)
            for bar in decided:
                figures["bars"].append(reached(bar, times))
                print_bar(figures["bars"][-1])
        del data
    if chosen.only in "memory":
        figures["peak_memory"] = peaks((chosen.documents, chosen.large), chosen.queries, sides.K)
    if chosen.only in "cell":
        figures["cell"] = cell_times(chosen.documents)
    if not chosen.only:
        write("search", figures, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
