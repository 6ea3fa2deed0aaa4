"""Tiny projects: two small collections in the BEIR layout, LSA models, and every stage with small settings."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline import graph, params
from pipeline.budget import BUDGET
from stages.__main__ import main
from tests.paths import ROOT

DOCUMENTS = 400
QUERIES = 40
TOPICS = 12
WORDS_PER_TOPIC = 30


def write_beir(folder: Path, seed: int, documents: int = DOCUMENTS, queries: int = QUERIES) -> None:
    """A collection whose documents draw most words from one topic, and whose queries quote a document."""
    random = np.random.RandomState(seed)
    bodies = []
    for _ in range(documents):
        topic = random.randint(TOPICS)
        own = [f"t{topic}w{word}" for word in random.randint(0, WORDS_PER_TOPIC, 12)]
        shared = [f"common{word}" for word in random.randint(0, 200, 8)]
        bodies.append([*own, *shared])
    (folder / "qrels").mkdir(parents=True)
    lines = [
        json.dumps({"_id": f"d{i}", "title": f"title{i % 7}", "text": " ".join(body)})
        for i, body in enumerate(bodies)
    ]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    chosen = random.permutation(documents)[:queries]
    lines = [
        json.dumps({"_id": f"q{i}", "text": " ".join(random.permutation(bodies[row])[:6])})
        for i, row in enumerate(chosen)
    ]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    judged = [f"q{i}\td{row}\t1" for i, row in enumerate(chosen)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n")


def beir_entry(path: str) -> dict[str, Any]:
    """An entry of ``datasets`` for a collection in the folder ``path``, whole."""
    return {
        "source": "beir",
        "path": path,
        "hub": None,
        "split": "test",
        "training": None,
        "max_documents": None,
        "seed": 0,
        "exclude_self": False,
        "grown_from": [],
        "drop": [],
    }


def tiny_params(data: Path) -> dict[str, Any]:
    """The repository's parameters with two LSA models, two collections below ``data`` and small settings."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    lsa = copy.deepcopy(content["models"]["lsa-384"])
    content["models"] = {
        "lsa-32": {**lsa, "dimension": 32, "min_df": 1, "max_features": 4096},
        "lsa-64": {**lsa, "dimension": 64, "min_df": 1, "max_features": 4096},
    }
    content["datasets"] = {name: beir_entry(str(data / name)) for name in ("first", "second")}
    content["study"] = {
        "name": "tiny",
        "models": ["lsa-32", "lsa-64"],
        "datasets": ["first", "second"],
        "sweeps": {},
    }
    content["sweeps"] = {
        "reduced": {
            "binarize": {"codecs": {"phase1": {"bits": [128], "seeds": [0, 1]}}},
            "quantize": {
                **content["quantize"],
                "codecs": {"pq": {"code_bytes": [16], "seeds": [0], "iterations": 4}, "int8": {}},
            },
        }
    }
    content["binarize"]["codecs"]["phase1"] = {"bits": [64, 128], "seeds": [0, 1]}
    content["quantize"]["codecs"]["pq"] = {"code_bytes": [8, 16], "seeds": [0], "iterations": 4}
    content["extend"]["codecs"] = {
        "float16": {},
        "bfloat16": {},
        "float8": {},
        "truncate": {"dimensions": [16]},
        "pca": {"dimensions": [16]},
        "int4": {},
        "sign": {},
        "sign-mean": {},
        "sign-median": {},
        "itq": {"bits": [16, 32], "seeds": [0, 1], "iterations": 3},
        "rabitq": {"seeds": [0, 1]},
        "opq": {"code_bytes": [8], "seeds": [0], "iterations": 2},
        "rq": {"code_bytes": [2], "seeds": [0], "iterations": 2},
    }
    content["search"] = {"k": [1, 10, 20]}
    content["search_further"] = {"asymmetric": ["phase1", "sign", "itq"]}
    content["rescore"] = {
        "first": ["phase1", "pq", "itq"],
        "second": ["int8", "float32"],
        "k": 10,
        "oversample": [1, 4],
    }
    content["regimes"] |= {"draws": 1000}
    content["failures"] |= {"draws": 1000, "worst": 3}
    content["geometry"] |= {
        "sample": 200,
        "query_sample": 30,
        "draws": 5,
        "projections": 16,
        "mle_neighbours": 10,
    }
    content["results"]["draws"] = 1000
    content["results"]["headline"] |= {
        "codecs": {"float32": ["float32", 0], "pq-16": ["pq", 128], "phase1-128": ["phase1", 128]},
        "versus": ["phase1-128", "pq-16"],
    }
    content["correlate"]["settings"] |= {"permutations": 200, "bootstrap_draws": 99, "penalties": [0.1, 1.0]}
    return content


def write_params(root: Path, content: dict[str, Any]) -> None:
    """Write ``params.yaml``; the plan and the caps are the repository's."""
    (root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if not (root / BUDGET).exists():
        (root / BUDGET).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / BUDGET, root / BUDGET)


def make_project(
    root: Path, change: Callable[[dict[str, Any]], None] = lambda content: None
) -> dict[str, Any]:
    """A project at ``root`` with its data beside it; returns its parameters."""
    root.mkdir(parents=True, exist_ok=True)
    data = root / "data"
    for seed, name in enumerate(("first", "second")):
        write_beir(data / name, seed)
    content = tiny_params(data)
    change(content)
    write_params(root, content)
    graph.write(root, params.load(root))
    return content


def run(root: Path, *arguments: str) -> int:
    """Run a stage in this process; returns its exit code."""
    return main(list(arguments), root)


def run_cell(root: Path, model: str, dataset: str, until: str = "quality") -> None:
    """Run the stages of one cell in order, up to and with ``until``."""
    for stage in params.stages().values():
        keys = {"model": model, "dataset": dataset}
        if stage.per:
            options = [option for key in stage.per for option in (f"--{key}", keys[key])]
            assert run(root, stage.name, *options) == 0
        if stage.name == until:
            return


def run_study(root: Path) -> None:
    """Run every stage of the study in order."""
    parsed = params.load(root)
    for stage in params.stages().values():
        seen = dict.fromkeys(tuple(cell[key] for key in stage.per) for cell in parsed.study.cells())
        for values in seen:
            options = [
                option for key, value in zip(stage.per, values, strict=True) for option in (f"--{key}", value)
            ]
            assert run(root, stage.name, *options) == 0, (stage.name, values)
