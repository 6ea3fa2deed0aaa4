"""What E2 to E7 of one cell cost: the study's own stages, as processes, on vectors drawn to look like a model's."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from benchmarks._machine import ROOT
from benchmarks._vectors import drawn, mixtures, stored
from pipeline import budget, graph, params
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.layout import Layout
from store.leaf.commit import commit_leaf

QUERIES = 7_000
EXPERIMENTS = ("E2", "E3", "E4", "E5", "E6", "E7")
MODEL, DATASET = "all-MiniLM-L6-v2", "scifact"


def make_cell(root: Path, documents: int, queries: int) -> None:
    """A project below ``root`` whose only cell has drawn embeddings and judgements."""
    content = yaml.safe_load((ROOT / params.PARAMS).read_text(encoding="utf-8"))
    content["study"] = {"name": "cell", "models": [MODEL], "datasets": [DATASET], "sweeps": {}}
    (root / params.PARAMS).write_text(yaml.safe_dump(content), encoding="utf-8")
    (root / budget.BUDGET).parent.mkdir()
    shutil.copy(ROOT / budget.BUDGET, root / budget.BUDGET)
    graph.write(root, params.load(root))
    base, layout = stored(), Layout(root)
    digest = "0" * 64
    with commit_leaf(layout, EMBEDDINGS, {"model": MODEL, "dataset": DATASET}) as leaf:
        array = leaf.create("documents", (documents, base.shape[1]))
        leaf.fill(array, (block for _, block in mixtures(base, documents, 0)))
        leaf.write("queries", drawn(base, queries, 1))
        leaf.describe(model=MODEL, dataset=DATASET, corpus_digest=digest, encoder={}, storage={})
    with commit_leaf(layout, JUDGEMENTS, {"dataset": DATASET}) as leaf:
        leaf.write("document_id", [f"d{row}" for row in range(documents)])
        leaf.write("query_id", [f"q{row}" for row in range(queries)])
        judged = np.random.RandomState(0).randint(0, documents, queries).astype(np.int32)
        leaf.write("judged_query", np.arange(queries, dtype=np.int32))
        leaf.write("judged_document", judged)
        leaf.write("relevance", np.ones(queries, np.int32))
        leaf.write("self_row", np.full(queries, -1, np.int32))
        leaf.describe(dataset=DATASET, source="drawn", corpus_digest=digest, exclude_self=False, counts={})


def cell_times(documents: int, queries: int = QUERIES) -> dict[str, Any]:
    """Wall and processor minutes and peak memory of each stage of the core, and of all together."""
    stages: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as temporary:
        make_cell(Path(temporary), documents, queries)
        planned = budget.load(ROOT).experiments
        for experiment in EXPERIMENTS:
            (stage,) = planned[experiment].stages
            command = [sys.executable, "-m", "stages", stage, "--model", MODEL, "--dataset", DATASET]
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                command, cwd=temporary, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{stage}: {done.stderr.strip().splitlines()[-1]}")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            stages[experiment] = {
                "wall_minutes": round((time.perf_counter() - start) / 60, 2),
                "cpu_minutes": round(processor / 60, 2),
            }
            print(f"cell {experiment} {stage:18}{stages[experiment]}", flush=True)
    total = {
        key: round(sum(each[key] for each in stages.values()), 2) for key in ("wall_minutes", "cpu_minutes")
    }
    print(f"cell, all of E2 to E7: {total}; goal: at most 15 minutes")
    return {"documents": documents, "queries": queries, "stages": stages, "all": total}
