"""The whole study on tiny collections: what comes out is right, and bad input leaves what was there."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from analysis.quality.results import COLUMNS
from pipeline import graph, params
from store import open_lake
from tests.stages.projects import make_project, run, run_study, write_params

FILES = (
    "report/results.csv",
    "report/metrics.json",
    "report/regimes.csv",
    "report/failures.csv",
    "report/relation.csv",
    "report/predicted.csv",
    "report/predicted_errors.csv",
    "report/plots/recall_at_10.csv",
    "report/plots/regimes.png",
    "report/plots/predicted.png",
)


def digests(root: Path) -> dict[str, str]:
    """Digest of every file of the lake and the report."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("lake.zarr", "corpora", "report")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    make_project(root)
    run_study(root)
    return root


@pytest.fixture
def project(study: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(study, tmp_path / "copy"))


def rows(root: Path, name: str = "results") -> list[dict[str, str]]:
    with (root / f"report/{name}.csv").open() as file:
        return list(csv.DictReader(file))


def plain_rows(root: Path) -> list[dict[str, str]]:
    """What is in the cube too: codecs as such, neither asymmetric nor re-scored."""
    return [r for r in rows(root) if not r["variant"] and not r["rescore"] and r["scoring"] != "asymmetric"]


def test_the_table_has_every_cell_codec_and_length(study: Path) -> None:
    table = plain_rows(study)
    assert tuple(table[0]) == COLUMNS
    found = {(r["model"], r["dataset"], r["codec"], r["bits"], r["metric"], r["k"]) for r in table}
    lengths = {"phase1": ["64", "128"], "pq": ["64", "128"]}
    for model, dimension in (("lsa-32", 32), ("lsa-64", 64)):
        own = {**lengths, "int8": [str(8 * dimension)], "float32": [str(32 * dimension)]}
        for dataset in ("first", "second"):
            for codec, bits in own.items():
                for length in bits:
                    for metric in ("recall", "ndcg", "mrr", "overlap"):
                        for k in ("1", "10", "20"):
                            assert (model, dataset, codec, length, metric, k) in found
    assert len(table) == len(found)


def test_figures_are_what_the_searches_found(study: Path) -> None:
    """Recall@10 of one configuration, by hand from neighbours and judgements."""
    lake = open_lake(study)
    judgements = lake.judgements.sel(dataset="first")
    relevant = dict(zip(judgements.judged_query.values, judgements.judged_document.values, strict=True))
    expected = []
    for seed in (0, 1):
        found = lake.neighbours.sel(
            model="lsa-64",
            dataset="first",
            codec="phase1",
            bits=128,
            seed=seed,
            scoring="hamming",
            rescore="",
        )
        top = found.rows.values[:, :10]
        expected.append(np.mean([relevant[query] in top[query] for query in range(len(top))]))
    (row,) = [
        r
        for r in plain_rows(study)
        if (r["model"], r["dataset"], r["codec"], r["bits"], r["metric"], r["k"])
        == ("lsa-64", "first", "phase1", "128", "recall", "10")
    ]
    assert float(row["value"]) == pytest.approx(np.mean(expected), abs=1e-6)
    assert float(row["seed_sd"]) == pytest.approx(np.std(expected, ddof=1), abs=1e-6)
    assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"])
    assert (row["n_queries"], row["n_seeds"]) == ("40", "2")


def test_pq_fitted_on_few_documents_is_flagged(study: Path) -> None:
    with_codebooks = ("pq", "opq", "rq")
    assert {r["flags"] for r in rows(study) if r["codec"] in with_codebooks} == {"pq-undertrained"}
    assert {r["flags"] for r in rows(study) if r["codec"] not in with_codebooks} == {""}


def test_floats_overlap_with_themselves_and_retrieve_well(study: Path) -> None:
    for row in rows(study):
        if row["codec"] == "float32" and row["metric"] == "overlap":
            assert float(row["value"]) == 1
        if (row["codec"], row["metric"], row["k"]) == ("float32", "recall", "20"):
            assert float(row["value"]) > 0.5


def test_headline_figures_agree_with_the_table(study: Path) -> None:
    figures = json.loads((study / "report/metrics.json").read_text())
    assert figures["cells"] == 4
    table = [
        r
        for r in plain_rows(study)
        if (r["metric"], r["k"], r["codec"], r["bits"]) == ("recall", "10", "phase1", "128")
    ]
    mean = np.mean([float(r["value"]) for r in table])
    assert figures["recall_at_10"]["phase1-128"] == pytest.approx(mean, abs=2e-6)
    contrast = figures["phase1-128_minus_pq-16"]
    assert contrast["ci_low"] <= contrast["mean"] <= contrast["ci_high"]


def test_regimes_have_one_row_for_every_cell_and_size(study: Path) -> None:
    found = [(r["model"], r["dataset"], r["bytes_per_vector"]) for r in rows(study, "regimes")]
    cells = [(model, dataset) for model in ("lsa-32", "lsa-64") for dataset in ("first", "second")]
    assert found == [(*cell, size) for cell in cells for size in ("8", "16")]
    plain = {
        (r["model"], r["dataset"], r["codec"], r["bytes_per_vector"]): float(r["value"])
        for r in plain_rows(study)
        if (r["metric"], r["k"]) == ("recall", "10")
    }
    for row in rows(study, "regimes"):
        sides = [
            plain[row["model"], row["dataset"], codec, row["bytes_per_vector"]] for codec in ("phase1", "pq")
        ]
        assert float(row["first_value"]) == pytest.approx(sides[0], abs=2e-6)
        assert float(row["difference"]) == pytest.approx(sides[0] - sides[1], abs=4e-6)
        assert float(row["simultaneous_low"]) <= float(row["ci_low"])
        assert row["regime"] in {"clearly worse", "preferable", "competitive", "undecided"}


def test_failures_compare_both_directions_in_every_cell(study: Path) -> None:
    found = {(r["model"], r["dataset"], r["bits"], r["lost_by"]) for r in rows(study, "failures")}
    assert len(found) == 4 * 2 * 2
    assert (study / "report/local/worst-queries.md").is_file()


def test_every_prediction_stands_beside_its_measurement(study: Path) -> None:
    cells = [(model, dataset) for model in ("lsa-32", "lsa-64") for dataset in ("first", "second")]
    plain = {(metric, k, "0") for metric in ("recall", "overlap") for k in ("1", "10", "20")}
    searches = plain | {("overlap", "10", "1"), ("overlap", "10", "4")}
    table = rows(study, "predicted")
    found = [(r["model"], r["dataset"], r["bits"], r["metric"], r["k"], r["oversample"]) for r in table]
    assert len(found) == len(set(found))
    assert set(found) == {(*cell, bits, *one) for cell in cells for bits in ("64", "128") for one in searches}
    names = ("model", "dataset", "bits", "rescore", "oversample", "metric", "k")
    measured = {
        tuple(r[name] for name in names): (r["value"], r["n_seeds"], r["n_queries"])
        for r in rows(study)
        if (r["codec"], r["scoring"]) == ("phase1", "hamming")
    }
    for row in table:
        of_results = measured[tuple(row[name] for name in names)]
        assert (row["measured"], row["n_seeds"], row["n_queries"]) == of_results
        predicted = open_lake(study).predictions.sel(
            model=row["model"],
            dataset=row["dataset"],
            metric=row["metric"],
            bits=int(row["bits"]),
            oversample=int(row["oversample"]),
            k=int(row["k"]),
        )
        assert float(row["predicted"]) == pytest.approx(float(predicted.value), abs=1e-6)
        difference = float(row["predicted"]) - float(row["measured"])
        assert float(row["difference"]) == pytest.approx(difference, abs=2e-6)
        # Forty queries and two draws leave more chance in Recall than in Overlap, and most of all at 1.
        assert abs(difference) < (0.05 if row["metric"] == "overlap" and row["k"] != "1" else 0.15)
    errors = rows(study, "predicted_errors")
    assert {(r["metric"], r["k"], r["oversample"]) for r in errors} == searches
    (deep,) = [r for r in errors if r["oversample"] == "4"]
    apart = [abs(float(r["difference"])) for r in table if r["oversample"] == "4"]
    assert float(deep["greatest_error"]) == pytest.approx(max(apart), abs=1e-6)


def test_the_lake_opens_as_one_tree(study: Path) -> None:
    tree = xr.open_datatree(study / "lake.zarr", engine="zarr", consolidated=False, chunks=None)
    assert tree["embeddings/lsa-64/first"].documents.dims == ("document", "dimension")
    assert tree["binary_codes/lsa-64/first/phase1"].documents.dtype == np.uint8
    assert tree["results"].value.dims == ("model", "dataset", "codec", "bits", "metric", "k")


def test_reading_through_the_lake(study: Path) -> None:
    lake = open_lake(study)
    cell = lake.embeddings.sel(model="lsa-64", dataset="first")
    assert cell.documents.shape == (400, 64)
    assert cell.document_id.sizes == {"document": 400}
    long = lake.codes.sel(model="lsa-64", dataset="first", codec="phase1", bits=128, seed=1)
    short = lake.codes.sel(model="lsa-64", dataset="first", codec="phase1", bits=64, seed=1)
    np.testing.assert_array_equal(long.documents.values[:, :8], short.documents.values)
    assert short.attrs["bits"] == 64
    assert lake.codes.sel(model="lsa-64", dataset="first", codec="pq", bits=64).documents.shape == (1, 400, 8)
    assert set(lake.embeddings.sel(dataset="first").children) == {"lsa-32", "lsa-64"}
    of_all = lake.codes.sel(dataset="first", codec="phase1", bits=64, seed=1)
    np.testing.assert_array_equal(of_all["lsa-64/first"].documents.values, short.documents.values)
    assert {of_all[f"{model}/first"].sizes["byte"] for model in ("lsa-32", "lsa-64")} == {8}
    results = lake.results
    assert (
        float(
            results.value.sel(model="lsa-64", dataset="first", codec="float32", metric="overlap", k=10).max()
        )
        == 1
    )
    exact = lake.neighbours.sel(model="lsa-64", dataset="first", codec="float32")
    scores = cell.queries.values.astype("f8") @ cell.documents.values.astype("f8").T
    np.testing.assert_array_equal(exact.rows.values[:, 0], scores.argmax(axis=1))
    measure = lake.geometry.sel(model="lsa-64", dataset="first", measure="documents_mean_cosine")
    assert -1 <= float(measure.ci_low) <= float(measure.value) <= float(measure.ci_high) <= 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"model": "lsa-6", "dataset": "first"}, "no leaf for"),
        ({"model": "lsa-64", "dataset": "first", "codec": "phase2"}, "codec 'phase2' is not here"),
        (
            {"model": "lsa-64", "dataset": "first", "codec": "phase1", "bits": 136},
            "bits 136 is not a multiple of 8",
        ),
        (
            {"model": "lsa-64", "dataset": "first", "codec": "phase1", "bits": 63},
            "bits 63 is not a multiple of 8",
        ),
        ({"model": "lsa-64", "dataset": "first", "codec": "pq", "bits": 32}, "bits 32 is not stored for pq"),
        (
            {"model": "lsa-64", "dataset": "first", "codec": "phase1", "bits": 64, "seed": 9},
            "seed 9 is not here",
        ),
        ({"model": "lsa-64", "dataset": "first", "bits": 64}, "can only be given together with codec"),
    ],
)
def test_labels_that_nothing_carries(study: Path, labels: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_lake(study).codes.sel(**labels)


def test_a_second_computation_gives_the_same_bytes(study: Path, tmp_path: Path) -> None:
    for folder in ("data", "studies"):
        shutil.copytree(study / folder, tmp_path / folder)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(study / name, tmp_path / name)
    run_study(tmp_path)
    assert digests(tmp_path) == digests(study)


def test_texts_are_kept_out_of_the_lake(study: Path) -> None:
    word = b"t3w5"
    assert any(word in path.read_bytes() for path in (study / "data").rglob("corpus.jsonl"))
    assert not any(word in path.read_bytes() for path in (study / "lake.zarr").rglob("*") if path.is_file())


def test_results_refuse_a_study_with_a_missing_cell(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(project / "lake.zarr/quality/lsa-64/second")
    before = digests(project)
    assert run(project, "results") == 1
    assert capsys.readouterr().err == (
        "error: results: 1 of 4 cells are not finished (lsa-64 × second); run `dvc repro`, or set "
        "results.allow_partial to true and run `make graph` to look at the others\n"
    )
    assert digests(project) == before


def set_pq_bytes(content: dict[str, Any]) -> None:
    content["quantize"]["codecs"]["pq"]["code_bytes"] = [24]


def set_k(content: dict[str, Any]) -> None:
    content["search"]["k"] = [1, 10, 401]


def set_neighbours(content: dict[str, Any]) -> None:
    content["geometry"] |= {"query_sample": 100, "mle_neighbours": 50}


def set_dimension(content: dict[str, Any]) -> None:
    content["models"]["lsa-64"]["dimension"] = 500


def check_refused(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    message: str,
    *command: str,
) -> None:
    """After a change of the parameters the stage ends with one line that has ``message``, and nothing is replaced."""
    content = yaml.safe_load((project / "params.yaml").read_text())
    change(content)
    write_params(project, content)
    before = digests(project)
    assert run(project, *command) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert digests(project) == before


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("quantize", set_pq_bytes, "24: choose a divisor of the dimension 64"),
        ("exact", set_k, "k"),
        ("search-binary", set_k, "k"),
        ("search-quantized", set_k, "k"),
        ("geometry", set_neighbours, "geometry: the cell has 40 queries and needs 64"),
        ("embed", set_dimension, "dimension"),
    ],
)
def test_settings_that_do_not_fit_the_data_leave_the_earlier_artifact(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    check_refused(project, capsys, change, message, stage, "--model", "lsa-64", "--dataset", "first")


def test_a_broken_collection_leaves_the_earlier_corpus(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (project / "data/first/corpus.jsonl").read_text().splitlines()
    before = digests(project)
    # The copy's parameters point at the original data; let them point at the copy's.
    text = (project / "params.yaml").read_text()

    content = yaml.safe_load(text)
    content["datasets"]["first"]["path"] = str(project / "data/first")
    write_params(project, content)
    (project / "data/first/corpus.jsonl").write_text("\n".join([*lines[:4], "{broken", *lines[5:]]) + "\n")
    assert run(project, "corpus", "--dataset", "first") == 1
    error = capsys.readouterr().err
    assert "corpus.jsonl" in error
    assert "5" in error
    assert digests(project) == before


def test_inputs_can_be_checked_without_running(study: Path) -> None:
    before = digests(study)
    for stage in params.stages().values():
        options = [o for key in stage.per for o in (f"--{key}", {"model": "lsa-32", "dataset": "first"}[key])]
        assert run(study, stage.name, *options, "--check") == 0
    assert digests(study) == before


def test_the_graph_of_the_tiny_study_is_in_order(study: Path) -> None:
    graph.check(study, params.load(study))
    assert all((study / name).is_file() for name in FILES)
