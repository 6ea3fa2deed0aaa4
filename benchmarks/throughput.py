"""E9, an appendix: queries a second of every codec of the study: ``python -m benchmarks.throughput``.

This is no claim about a search engine, which would skip most documents: every document is compared with every query,
by the search that the study itself uses, on the machine at hand. It shows what a codec costs if nothing is skipped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._machine import FOLDER, ROOT, write
from benchmarks._vectors import Vectors, drawn, fed, stored
from pipeline import params
from store.codecs.base import Codec
from store.codecs.floats import Float32Codec
from store.libraries import BLAS_THREADS, openmp_threads
from store.threads import cores

DOCUMENTS, QUERIES, FITTED, K = 100_000, 500, 16_384, 100
REPETITIONS = 5
LABEL = "exhaustive search on this machine"


def codecs(root: Path = ROOT) -> dict[str, Codec]:
    """Every codec of the study at ``root``, with its first seed."""
    read = params.load(root)
    groups = [group for section in params.ENCODED for group in read.section(section).groups()]
    return {"float32": Float32Codec(), **{group.name: group.codecs[0] for group in groups}}


def seconds(codec: Codec, documents: Vectors, queries: Vectors, repetitions: int) -> list[float]:
    """Wall seconds of searching all documents for all queries, once more than counted to warm up."""
    state = codec.fit(documents[:FITTED])
    codes = codec.encode(state, documents)
    taken = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        fed(codec.search(state, queries, K), codes)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Measure, print and write ``report/benchmarks/throughput.json``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput", description="queries a second, E9"
    )
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    chosen = parser.parse_args(arguments)
    threads = cores()
    base = stored()
    documents, queries = drawn(base, chosen.documents, 0), drawn(base, chosen.queries, 1)
    rates: dict[str, dict[str, float]] = {}
    print(
        f"{LABEL}: {chosen.documents:,} documents, {threads} threads\n{'codec':14}bytes  queries/s  (least – most)"
    )
    with openmp_threads(threads), BLAS_THREADS.at(threads):
        for name, codec in codecs().items():
            taken = seconds(codec, documents, queries, chosen.repetitions)
            rate = {
                "bytes_per_vector": codec.bytes_per_vector(documents.shape[1]),
                "queries_per_s": round(chosen.queries / median(taken), 1),
                "least": round(chosen.queries / max(taken), 1),
                "most": round(chosen.queries / min(taken), 1),
            }
            rates[name] = rate
            print(
                f"{name:14}{rate['bytes_per_vector']:5.0f}{rate['queries_per_s']:11.0f}"
                f"  ({rate['least']:.0f} – {rate['most']:.0f})",
                flush=True,
            )
    figures: dict[str, Any] = {
        "label": LABEL,
        "documents": chosen.documents,
        "queries": chosen.queries,
        "k": K,
        "threads": threads,
        "codecs": rates,
    }
    write("throughput", figures, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
