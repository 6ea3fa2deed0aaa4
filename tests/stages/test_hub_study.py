"""From the hub to embeddings through the ordinary stages, then again without a network; no secret is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.leaf import open_leaf
from tests.hub_server import SIGNATURE, TOKEN, client_environment, study_hub
from tests.stages.checkouts import Checkout, check_out
from tests.stages.projects import REPOSITORY, write_params

MODEL = "intfloat/e5-base-v2"
DATASET = "zeta-alpha-ai/NanoNQ"


def nano_params() -> dict[str, Any]:
    """The repository's parameters with a study of one cell, whose model and dataset are on the hub."""
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
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
    content["study"] = {"name": "hub", "models": ["e5-base-v2"], "datasets": ["nano-nq"]}
    return content


def artifacts(project: Checkout) -> dict[str, bytes]:
    """Every file that the stages made."""
    return {
        str(path.relative_to(project.root)): path.read_bytes()
        for folder in ("lake.zarr", "corpora", ".bitlake")
        for path in sorted((project.root / folder).rglob("*"))
        if path.is_file()
    }


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
    assert (judgements.size("document"), judgements.size("query")) == (400, 40)
    assert judgements.attributes["source"] == "beir"
    embeddings = open_leaf(project.root / "lake.zarr/embeddings/e5-base-v2/nano-nq", EMBEDDINGS)
    vectors = embeddings.read("documents").astype(np.float32)
    assert vectors.shape == (400, 768)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    assert embeddings.attributes["encoder"]["name"] == MODEL
    for path, content in made.items():
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
