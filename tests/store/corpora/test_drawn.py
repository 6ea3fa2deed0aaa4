"""A draw in one pass: what is drawn, that order does not matter, and that texts do not stay in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from store.corpora.drawn import Drawn
from tests.counts import count
from tests.paths import ROOT

NAMES = [f"p{number}" for number in range(2000)]


def draw(folder: Path, names: list[str], others: int | None, judged: frozenset[str], seed: int = 0) -> Drawn:
    drawn = Drawn(folder, judged=judged, others=others, seed=seed)
    for row, name in enumerate(names, start=1):
        drawn.offer(row, name, f"text of {name} é" * (row % 3))
    return drawn


def test_the_judged_stay_and_the_rest_is_filled_up(tmp_path: Path) -> None:
    judged = frozenset(NAMES[::97])
    drawn = draw(tmp_path, NAMES, 50, judged)
    assert len(drawn) == len(judged) + 50
    assert judged < set(drawn)
    for name in drawn:
        row = NAMES.index(name) + 1
        assert drawn.row(name) == row
        assert drawn[name] == f"text of {name} é" * (row % 3)


def test_the_draw_follows_from_ids_and_seed_alone(tmp_path: Path) -> None:
    judged = frozenset(NAMES[:10])
    expected = set(draw(tmp_path, NAMES, 100, judged))
    for order in range(count(full=20, quick=3)):
        shuffled = [NAMES[i] for i in np.random.RandomState(order).permutation(len(NAMES))]
        assert set(draw(tmp_path, shuffled, 100, judged)) == expected
    assert set(draw(tmp_path, NAMES, 100, judged, seed=1)) != expected
    # A larger draw holds the smaller one.
    assert expected < set(draw(tmp_path, NAMES, 101, judged))


def test_every_passage_is_as_likely_as_any_other(tmp_path: Path) -> None:
    draws = count(full=2000, quick=300)
    times = dict.fromkeys(NAMES[:40], 0)
    for seed in range(draws):
        for name in draw(tmp_path, NAMES[:40], 10, frozenset(), seed):
            times[name] += 1
    expected = draws * 10 / 40
    # Of 40 counts of a fair draw, beyond five standard deviations with a probability of some 1e-5.
    assert max(abs(found - expected) for found in times.values()) < 5 * np.sqrt(expected * 30 / 40)


def test_all_is_everything_in_its_order(tmp_path: Path) -> None:
    assert list(draw(tmp_path, NAMES, None, frozenset())) == NAMES
    assert list(draw(tmp_path, NAMES, 0, frozenset(NAMES[5:7]))) == NAMES[5:7]
    assert not list(tmp_path.iterdir()), "the file has no name"


MEASURE = """
import resource, sys
from pathlib import Path
from store.corpora.collection import Pair, Rows, Tables, Text, read_tables
from store.corpora.spec import Beir

seen, drawn, judged, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
spec = Beir.model_validate({
    "source": "beir", "path": "x", "hub": None, "split": "dev", "training": None, "max_documents": drawn,
    "seed": 0, "exclude_self": False, "grown_from": [], "drop": [],
})
import numpy, pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step = seen // judged
tables = Tables(
    Rows((Text(i + 1, str(i), f"{i} " + "passage " * 42) for i in range(seen)), "corpus"),
    Rows((Text(i + 1, f"q{i}", f"query {i}") for i in range(judged)), "queries"),
    Rows((Pair(i + 1, f"q{i}", str(i * step), 1) for i in range(judged)), "qrels"),
    None,
)
corpus = read_tables(tables, spec, 0, folder)
digest = corpus.digest
corpus.write_texts(folder / "out")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(len(corpus.document_ids), peak * 1024)
"""
BYTES_PER_DOCUMENT = 700
"""Upper bound of what a drawn document costs in memory: its id in several lists, its place, priority and row."""
FIXED_BYTES = 64 << 20


def measured(seen: int, drawn: int, judged: int, folder: Path) -> int:
    """Bytes by which making a corpus raises the peak of a process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, (seen, drawn, judged, folder))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    documents, peak = map(int, done.stdout.split())
    assert documents == drawn
    return peak


def test_memory_is_that_of_ids_and_not_of_texts(tmp_path: Path) -> None:
    seen = count(full=2_000_000, quick=200_000)
    drawn = seen // 10
    peak = measured(seen, drawn, 500, tmp_path)
    assert peak < FIXED_BYTES + BYTES_PER_DOCUMENT * drawn


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_ms_marco_fits_a_small_machine(tmp_path: Path) -> None:
    peak = measured(8_841_823, 500_000, 7_433, tmp_path)
    assert peak < FIXED_BYTES + BYTES_PER_DOCUMENT * 500_000
