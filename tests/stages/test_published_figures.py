"""External truth: through the ordinary stages, all-MiniLM-L6-v2 reaches its published figures on SciFact."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from pipeline import study
from store.corpora.beir import data_root
from store.threads import cores
from tests.paths import ROOT
from tests.stages.checkouts import Checkout, check_out

PUBLISHED = {("ndcg", "10"): 0.64508, ("recall", "10"): 0.78333}
"""Of MTEB's leaderboard; also in the head of studies/scifact.yaml."""


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_minilm_reaches_its_published_figures_on_scifact(tmp_path: Path) -> None:
    data = data_root(ROOT)
    if not (data / "scifact").is_dir():
        pytest.skip("no folder scifact in BITLAKE_DATA or ../shared/data: the published figures go unchecked")
    code = check_out(tmp_path)
    project = Checkout(code.root, data, threads=cores())
    for name in ("params.yaml", "pyproject.toml"):
        (project.root / name).write_text((ROOT / name).read_text())
    study.use(project.root, "scifact")
    project.dvc("repro")
    with (project.root / "report/results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["codec"] == "float32"]
    found = {(row["metric"], row["k"]): float(row["value"]) for row in rows}
    assert {(row["model"], row["dataset"], row["n_queries"]) for row in rows} == {
        ("all-MiniLM-L6-v2", "scifact", "300")
    }
    for figure, published in PUBLISHED.items():
        assert found[figure] == pytest.approx(published, abs=0.001), figure


def test_the_study_names_the_published_figures() -> None:
    text = (ROOT / "studies/scifact.yaml").read_text()
    assert yaml.safe_load(text)["study"]["models"] == ["all-MiniLM-L6-v2"]
    for published in PUBLISHED.values():
        assert f"{published:.5f}".lstrip("0") in text
