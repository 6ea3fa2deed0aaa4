"""The stage `failures`: its table follows from what searches found, and texts stay in the local report."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.failures.compare import (
    COLUMNS,
    WORDS,
)
from pipeline import params
from pipeline.stage import Run
from stages import failures as stage
from store.artifacts.configuration import read_configurations
from store.artifacts.judgements import JUDGEMENTS
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.artifacts.quality import QUALITY
from store.errors import InvalidInput
from store.layout import Layout
from store.leaf.reading import open_leaf
from tests.analysis.failures.failed_queries import BOOTSTRAP
from tests.stages.projects import make_project, run_cell


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def one_cell(content: dict[str, Any]) -> None:
        content["study"] = {"name": "tiny", "models": ["lsa-64"], "datasets": ["first"], "sweeps": {}}

    root = tmp_path_factory.mktemp("study")
    make_project(root, one_cell)
    run_cell(root, "lsa-64", "first", until="quality")
    return root


def of_stage(root: Path, **changes: Any) -> Run[stage.Params]:
    chosen = {"codec": "phase1", "reference": "pq", "k": 10, "cut": 0.5, "worst": 5}
    parsed = stage.Params(**{**chosen, **BOOTSTRAP, **changes})
    whole = params.load(root)
    return Run(stage.STAGE, parsed, whole.study, Layout(root), keys={})


def lines(root: Path) -> list[dict[str, str]]:
    with (root / stage.CSV).open() as file:
        return list(csv.DictReader(file))


CELL = {"model": "lsa-64", "dataset": "first"}


def test_the_stage_counts_what_quality_says(study: Path) -> None:
    stage.run(of_stage(study))
    rows = lines(study)
    assert {(row["bits"], row["lost_by"]) for row in rows} == {
        (bits, by) for bits in ("64", "128") for by in ("phase1", "pq")
    }
    quality = open_leaf(Layout(study).leaf("quality", CELL), QUALITY)
    configurations = read_configurations(quality)
    recall = quality.read("value")[:, 0, quality.read("k").tolist().index(10)]
    for bits in (64, 128):
        mean = {
            codec: np.mean(
                [recall[i] for i, c in enumerate(configurations) if (c.codec, c.bits) == (codec, bits)],
                axis=0,
            )
            for codec in ("phase1", "pq")
        }
        lost = (mean["phase1"] < 0.5) & (mean["pq"] >= 0.5)
        (row,) = [
            row
            for row in rows
            if (row["bits"], row["lost_by"], row["covariate"]) == (str(bits), "phase1", WORDS)
        ]
        assert int(row["n_lost"]) == lost.sum()
        assert int(row["n_opposite"]) == ((mean["phase1"] >= 0.5) & (mean["pq"] < 0.5)).sum()
        assert int(row["n_queries"]) == 40
        # Every query of the collection has six words.
        assert float(row["kept_mean"]) == 6
        assert row["flags"] == "pq-undertrained"
    assert any(int(row["n_lost"]) for row in rows)


def test_margins_of_the_stage_are_those_of_the_exact_search(study: Path) -> None:
    run = of_stage(study)
    truth = stage._truth(run, CELL, np.full(40, 6))
    exact = open_leaf(Layout(study).leaf("exact_neighbours", CELL), EXACT_NEIGHBOURS)
    rows, scores = exact.read("rows", 0), exact.read("scores", 0)
    compared = 0
    judged = (truth[f"judged_{name}"].values for name in ("query", "document", "score"))
    for query, document, score in zip(*judged, strict=True):
        (rank,) = np.nonzero(rows[query] == document)
        if rank.size:
            assert score == scores[query, rank[0]]
            compared += 1
    assert compared > 20


def test_texts_stay_in_the_local_report_and_a_second_run_gives_the_same_bytes(study: Path) -> None:
    stage.run(of_stage(study))
    before = [(study / name).read_bytes() for name in (stage.CSV, stage.LOCAL)]
    stage.run(of_stage(study))
    assert [(study / name).read_bytes() for name in (stage.CSV, stage.LOCAL)] == before
    assert b"common" in before[1]
    holding = [
        path for path in (study / "report").rglob("*") if path.is_file() and b"common" in path.read_bytes()
    ]
    assert holding == [study / stage.LOCAL]
    assert stage.LOCAL not in [file.path for file in stage.STAGE.files]
    assert before[1].count(b"\n## ") <= 5


def test_the_local_report_shows_the_right_texts(study: Path) -> None:
    import pyarrow.parquet as pq

    stage.run(of_stage(study, worst=40))
    report = (study / stage.LOCAL).read_text()
    queries = pq.read_table(study / "corpora/first/queries.parquet").column("text").to_pylist()
    documents = pq.read_table(study / "corpora/first/documents.parquet").column("text").to_pylist()
    judged = dict(
        zip(
            *(
                open_leaf(study / "lake.zarr/judgements/first", JUDGEMENTS).read(f"judged_{name}").tolist()
                for name in ("query", "document")
            ),
            strict=True,
        )
    )
    sections = report.split("\n## ")[1:]
    assert sections
    for section in sections:
        query = int(section.splitlines()[0].rpartition(" ")[2])
        assert f"query: {queries[query]}\n" in section
        assert f"relevant: {documents[judged[query]]}\n" in section
        assert section.count("instead (") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec": "phase2"}, "failures.codec: 'phase2' was not searched; choose one of phase1"),
        ({"reference": "opq"}, r"failures.reference: 'opq' was not searched; choose one of .*pq"),
        ({"k": 21}, "failures.k: 21 is more than the 20 ranks that were searched"),
    ],
)
def test_settings_that_the_searches_do_not_have(study: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        stage.run(of_stage(study, **change))


def test_codecs_without_a_common_length_give_an_empty_table(study: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(study, tmp_path / "copy"))
    stage.run(of_stage(root, reference="int8"))
    assert (root / stage.CSV).read_text() == ",".join(COLUMNS) + "\n"
    assert "No query is lost." in (root / stage.LOCAL).read_text()
