"""From the hub to embeddings through the ordinary stages, then again without a network; no secret is left behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.leaf.reading import open_leaf
from tests.hub_server import NANO_DOCUMENTS, NANO_QUERIES, SIGNATURE, TOKEN, client_environment, study_hub
from tests.paths import ROOT
from tests.stages.checkouts import Checkout, check_out
from tests.stages.projects import write_params

MODEL = "intfloat/e5-base-v2"
DATASET = "zeta-alpha-ai/NanoNQ"
LAKE = "from cli.main import main; main()"
"""The command `lake` by the code of a checkout, not by what is installed."""


def nano_params() -> dict[str, Any]:
    """The repository's parameters with a study of one cell, whose model and dataset are on the hub."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["models"]["e5-base-v2"] = {
        "source": "sentence-transformers",
        "name": MODEL,
        "revision": "1c644c92ad3ba1efdad3f1451a637716616a20e8",
        "package": None,
        "dimension": 768,
        "max_tokens": 512,
        "query_prefix": "query: ",
        "document_prefix": "passage: ",
        "normalize": True,
    }
    content["study"] = {"name": "hub", "models": ["e5-base-v2"], "datasets": ["nano-nq"], "sweeps": {}}
    return content


def written(project: Checkout) -> dict[str, bytes]:
    """Every file that the stages wrote."""
    return {
        str(path.relative_to(project.root)): path.read_bytes()
        for folder in ("lake.zarr", "corpora", ".bitlake")
        for path in sorted((project.root / folder).rglob("*"))
        if path.is_file()
    }


def artifacts(project: Checkout) -> dict[str, bytes]:
    """What stages wrote but the ledger, which has an entry for each run."""
    return {path: content for path, content in written(project).items() if "/ledger/" not in path}


@pytest.mark.timeout(900)
def test_a_study_of_the_hub_runs_and_runs_again_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = check_out(tmp_path)
    write_params(project.root, nano_params())
    project.stages("graph")
    corpus = ("corpus", "--dataset", "nano-nq")
    embed = ("embed", "--model", "e5-base-v2", "--dataset", "nano-nq")
    hub = study_hub(tmp_path / "hub")
    files = hub.datasets[DATASET]
    with hub.serve() as server:
        for name, value in client_environment(server.url, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        files.signed = dict.fromkeys(files.files, 500)
        failed = project.stages(*corpus, check=False)
        assert failed.returncode == 1
        assert f"error: hub: {DATASET} at revision 77540146" in failed.stderr
        assert "(status 500)" in failed.stderr
        assert SIGNATURE not in failed.stdout + failed.stderr
        assert not artifacts(project)
        files.signed = dict.fromkeys(files.files, 200)
        hub.models[MODEL].signed = {"model.safetensors": 200}
        project.stages(*corpus)
        project.stages(*embed)
    made = artifacts(project)
    judgements = open_leaf(project.root / "lake.zarr/judgements/nano-nq", JUDGEMENTS)
    assert (judgements.size("document"), judgements.size("query")) == (NANO_DOCUMENTS, NANO_QUERIES)
    assert judgements.attributes["source"] == "beir"
    embeddings = open_leaf(project.root / "lake.zarr/embeddings/e5-base-v2/nano-nq", EMBEDDINGS)
    vectors = embeddings.read("documents").astype(np.float32)
    assert vectors.shape == (NANO_DOCUMENTS, 768)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    assert embeddings.attributes["encoder"]["name"] == MODEL
    for path, content in written(project).items():
        for secret in (SIGNATURE, TOKEN, server.url, str(tmp_path)):
            assert secret.encode() not in content, path
    # The server is gone: everything comes from the cache, byte for byte, and nothing is left half-written.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (project.root / "lake.zarr/judgements/nano-nq/zarr.json").unlink()
    (project.root / "corpora/nano-nq/documents.parquet").unlink()
    project.stages(*corpus)
    assert artifacts(project) == made
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    failed = project.stages(*corpus, check=False)
    remedy = "is not wholly in the local cache and HF_HUB_OFFLINE is set; unset it to download it\n"
    assert failed.stderr.endswith(remedy)
    assert artifacts(project) == made


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_nano_study_runs_by_its_documented_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All-MiniLM-L6-v2 with its packaged weights and a random e5 of one layer; collections of drawn words."""
    project = check_out(tmp_path)
    shutil.copytree(ROOT / "cli", project.root / "cli")
    shutil.copy(ROOT / "params.yaml", project.root)
    with study_hub(tmp_path / "hub").serve() as server:
        for name, value in client_environment(server.url, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        project.run(sys.executable, "-c", LAKE, "study", "use", "nano")
        project.dvc("repro")
    # Nothing is left to do, with the server gone.
    assert json.loads(project.dvc("status", "--json").stdout) == {"code": ["always changed"]}
    told = json.loads(project.run(sys.executable, "-c", LAKE, "study", "status", "--json").stdout)
    assert {step["state"] for step in told["steps"]} == {"done"}
    results = pd.read_csv(project.root / "report/results.csv")
    cells = results[["model", "dataset"]].drop_duplicates()
    assert len(cells) == 6
    assert set(results["dataset"]) == {"nano-msmarco", "nano-nq", "nano-scifact"}
    # A codec that keeps everything finds what the exact search finds.
    kept = results[(results.codec == "float16") & (results.metric == "overlap")]
    assert len(kept)
    assert (kept["value"] > 0.99).all()
