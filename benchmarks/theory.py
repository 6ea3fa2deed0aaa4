"""What predicting the quality of codes costs, beside one SGEMM of all scores: ``python -m benchmarks.theory``.

Both sides use the same vectors and the same number of threads, in turns. The prediction is for every length and cut-off
of the default study; the bar is 60 seconds on two cores for 100,000 documents of 384 dimensions and 1,000 queries.
"""

from __future__ import annotations

import argparse
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from analysis.theory.prediction import Cut, predict
from benchmarks._machine import FOLDER, Side, compared, describe, interleaved, write
from benchmarks._vectors import drawn, stored
from store.libraries import BLAS_THREADS, openmp_threads
from store.threads import cores

DOCUMENTS, QUERIES = 100_000, 1_000
BITS = (64, 128, 256, 512)
CUTS = tuple(Cut(k, k) for k in (1, 5, 10, 20, 100))


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Measure, print and write ``report/benchmarks/theory.json``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.theory", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--repetitions", type=int, default=3)
    chosen = parser.parse_args(arguments)
    base = stored()
    documents, queries = drawn(base, chosen.documents, 0), drawn(base, chosen.queries, 1)
    left, right = queries.astype(np.float32), documents.astype(np.float32).T
    scores = np.empty((len(left), right.shape[1]), np.float32)
    sides = {
        "SGEMM": Side(lambda: np.matmul(left, right, out=scores)),
        "prediction": Side(lambda: predict(documents, queries, BITS, CUTS)),
    }
    threads = cores()
    with openmp_threads(threads), BLAS_THREADS.at(threads):
        sides["SGEMM"].run()
        times = interleaved(sides, chosen.repetitions)
        tracemalloc.start()
        sides["prediction"].run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    figures: dict[str, Any] = {
        "documents": chosen.documents,
        "queries": chosen.queries,
        "bits": BITS,
        "k": [cut.k for cut in CUTS],
        "threads": threads,
        "seconds": compared(times, "SGEMM", documents.nbytes),
        "peak_memory_mb": round(peak / 1e6),
    }
    print(describe()["processor"], figures)
    write("theory", figures, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
