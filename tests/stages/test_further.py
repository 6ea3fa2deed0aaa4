"""Every codec of the registry in a study of one cell: what was searched, asymmetric and re-scored is right."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from numpy.typing import NDArray

from analysis.quality.figures import is_plain
from pipeline.cells import rescore
from store import open_lake
from store.artifacts.further_codes import FURTHER_CODES
from store.artifacts.quality import FURTHER_QUALITY, QUALITY
from store.codecs.registry import CODECS
from store.codecs.settings import build
from store.errors import InvalidInput
from store.leaf.labelled import datasets
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Schema
from tests.stages.projects import make_project, run, run_cell, write_params
from tests.stages.test_pipeline import check_refused, digests

CELL = {"model": "lsa-64", "dataset": "first"}
OPTIONS = ("--model", "lsa-64", "--dataset", "first")
FIRST = ["phase1", "pq", "int8", "sign", "truncate"]


def one_cell(content: dict[str, Any]) -> None:
    content["study"] |= {"models": ["lsa-64"], "datasets": ["first"]}
    content["rescore"]["first"] = FIRST


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("further")
    make_project(root, one_cell)
    run_cell(root, **CELL, until="quality-further")
    for stage in ("results", "regimes"):
        assert run(root, stage) == 0
    return root


@pytest.fixture
def project(study: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(study, tmp_path / "copy"))


def leaf(root: Path, schema: Any) -> Leaf:
    return open_leaf(root / "lake.zarr" / schema.artifact / "lsa-64/first", schema)


def table(root: Path) -> list[dict[str, str]]:
    with (root / "report/results.csv").open() as file:
        return list(csv.DictReader(file))


def key(row: dict[str, str]) -> str:
    return "-".join(filter(None, [row["codec"], row["variant"]]))


@pytest.fixture(scope="module")
def relevant(study: Path) -> NDArray[np.int32]:
    """The one relevant document of each query."""
    judgements = open_lake(study).judgements.sel(dataset="first")
    assert judgements.judged_query.values.tolist() == list(range(40))
    found: NDArray[np.int32] = judgements.judged_document.values
    return found


def vectors(root: Path, side: str) -> NDArray[np.float64]:
    return np.asarray(open_lake(root).embeddings.sel(**CELL)[side].values.astype(np.float64))


def ranked(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k best documents of each query, ties to the smaller row."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def searched(root: Path, codec: str, scoring: str, variant: str = "", seed: int = -1) -> NDArray[np.float32]:
    """Recall@10 of each query as it is stored."""
    quality = searched_part(root)
    wanted = {"codec": codec, "scoring": scoring, "variant": variant, "seed": seed}
    chosen = np.all([quality[name] == value for name, value in wanted.items()], axis=0)
    (at,) = np.flatnonzero(chosen)
    return np.asarray(quality["value"].sel(metric="recall", k=10).values[at])


def labelled(root: Path, schema: Schema) -> xr.Dataset:
    """The cell's quality as labelled arrays."""
    return datasets(leaf(root, schema))[""].load()


def searched_part(root: Path) -> xr.Dataset:
    """The quality of what was searched beyond the core and not re-scored."""
    quality = labelled(root, FURTHER_QUALITY)
    return quality.isel(configuration=np.flatnonzero(quality["rescore"] == ""))


def rescored_part(root: Path) -> xr.Dataset:
    """The quality of what was re-scored, at the one cut-off where it was evaluated."""
    quality = labelled(root, FURTHER_QUALITY)
    return quality.isel(configuration=np.flatnonzero(quality["rescore"] != "")).dropna("k", subset=["value"])


def test_the_table_has_every_codec_of_the_registry_with_finite_intervals(study: Path) -> None:
    rows = table(study)
    assert {key(row) for row in rows} == set(CODECS)
    for row in rows:
        low, value, high = (float(row[name]) for name in ("ci_low", "value", "ci_high"))
        assert 0 <= low <= value <= high <= 1  # false for NaN
        assert (row["seed_sd"] == "") == (row["n_seeds"] == "1")
    own = {"itq": 2, "rabitq": 2, "phase1": 2}
    assert all(int(row["n_seeds"]) == own.get(row["codec"], 1) for row in rows)


def test_sizes_are_those_of_the_codecs(study: Path) -> None:
    # 64 dimensions: as many bytes, halves of them, two or four of them, bits; RaBitQ has two numbers beside its bits.
    expected = {
        ("float16", 128),
        ("bfloat16", 128),
        ("float8", 64),
        ("int4", 32),
        ("truncate", 4 * 16),
        ("pca", 4 * 16),
        ("sign", 8),
        ("sign-mean", 8),
        ("sign-median", 8),
        ("rabitq", 8 + 8),
        ("itq", 2),
        ("itq", 4),
        ("opq", 8),
        ("rq", 2),
    }
    core = {"phase1", "pq", "int8", "float32"}
    found = {(key(row), int(row["bytes_per_vector"])) for row in table(study) if key(row) not in core}
    assert found == expected


def test_a_decoded_codec_is_searched_by_inner_product(study: Path, relevant: NDArray[np.int32]) -> None:
    codes = leaf(study, FURTHER_CODES)
    for group in ("int4", "opq-8", "pca-16", "float8"):
        attributes = codes.group_attributes(group)
        drawn = {"seed": 0} if group == "opq-8" else {}
        codec: Any = build(CODECS[attributes["codec"]], attributes["settings"] | drawn)
        state = {name: codes.read(f"{group}/{name}", 0) for name in codec.STATE}
        decoded = codec.decode(state, codes.read(f"{group}/documents", 0)).astype(np.float64)
        rows = ranked(vectors(study, "queries") @ decoded.T, 10)
        found = searched(study, codec.name, "inner-product", seed=drawn.get("seed", -1))
        np.testing.assert_array_equal(found, (rows == relevant[:, None]).any(axis=1))


def test_signs_are_searched_by_hamming_distance_and_asymmetrically(
    study: Path, relevant: NDArray[np.int32]
) -> None:
    queries, documents = vectors(study, "queries"), vectors(study, "documents")
    signs = np.where(documents > 0, 1.0, -1.0)
    for scoring, left in (("hamming", np.where(queries > 0, 1.0, -1.0)), ("asymmetric", queries)):
        rows = ranked(left @ signs.T, 10)
        np.testing.assert_array_equal(
            searched(study, "sign", scoring), (rows == relevant[:, None]).any(axis=1)
        )


def test_ties_are_judged_where_distances_are_hamming(study: Path) -> None:
    quality = searched_part(study)
    hamming = (quality["scoring"] == "hamming").values
    expected, cut = quality["expected_recall"].values, quality["tie_cut"].values
    assert 0 < hamming.sum() < len(hamming)
    assert np.isfinite(expected[hamming]).all()
    assert np.isnan(expected[~hamming]).all()
    assert cut[hamming].any()
    assert not cut[~hamming].any()
    # Ties to the smaller row are one of the orders that the expectation is taken over.
    untied = hamming[:, None, None] & ~cut
    recall = quality["value"].sel(metric="recall").values
    np.testing.assert_allclose(expected[untied], recall[untied], atol=1e-6)


def test_the_best_of_a_first_stage_are_ranked_anew(study: Path, relevant: NDArray[np.int32]) -> None:
    """nDCG@10 of re-scored signs by hand: the forty nearest codes, ordered by the stored vectors."""
    queries, documents = vectors(study, "queries"), vectors(study, "documents")
    near = ranked(np.where(queries > 0, 1.0, -1.0) @ np.where(documents > 0, 1.0, -1.0).T, 40)
    scores = queries @ documents.T
    kept = np.full(scores.shape, -np.inf)
    np.put_along_axis(kept, near, np.take_along_axis(scores, near, axis=1), axis=1)
    hits = ranked(kept, 10) == relevant[:, None]
    expected = np.where(hits.any(axis=1), 1 / np.log2(hits.argmax(axis=1) + 2), 0)
    quality = rescored_part(study)
    wanted = {"codec": "sign", "rescore": "float32", "oversample": 4}
    (at,) = np.flatnonzero(np.all([quality[name] == value for name, value in wanted.items()], axis=0))
    one = quality.isel(configuration=int(at))
    assert one["rescore_bytes"] == 4 * 64
    np.testing.assert_allclose(one["value"].sel(metric="ndcg", k=10), expected, atol=1e-6)


def by_columns(quality: xr.Dataset, *names: str) -> dict[tuple[Any, ...], NDArray[np.float32]]:
    """Values (metric, query) of each configuration by some of its columns."""
    keys = zip(*(quality[name].values.tolist() for name in names), strict=True)
    values = quality["value"].transpose("configuration", "metric", "query").values
    return dict(zip(keys, values, strict=True))


def test_laws_of_rescoring(study: Path) -> None:
    """With oversample 1 the documents stay; with floats a longer list never loses an exact neighbour."""
    before: dict[tuple[Any, ...], NDArray[np.float32]] = {}
    for part in (labelled(study, QUALITY), searched_part(study)):
        plain = part.isel(configuration=np.flatnonzero(is_plain(part))).sel(k=10)
        before |= by_columns(plain, "codec", "bits", "seed")
    quality = rescored_part(study)
    assert quality["k"].values.tolist() == [10]
    overlap, recall = (quality["metric"].values.tolist().index(name) for name in ("overlap", "recall"))
    after = by_columns(quality.sel(k=10), "codec", "bits", "seed", "rescore", "oversample")
    assert {name[0] for name in after} == set(FIRST)
    for (codec, bits, seed, second, oversample), values in after.items():
        if oversample == 1:
            for metric in (overlap, recall):
                np.testing.assert_array_equal(values[metric], before[codec, bits, seed][metric])
            if second == "float32":
                longer = after[codec, bits, seed, second, 4]
                assert (longer[overlap] >= values[overlap]).all()


def test_a_second_stage_that_is_no_larger_is_left_out(study: Path) -> None:
    seconds: dict[str, set[str]] = {}
    for row in table(study):
        if row["rescore"]:
            assert int(row["rescore_bytes"]) > int(row["bytes_per_vector"])
            seconds.setdefault(row["codec"], set()).add(row["rescore"])
    assert seconds == {codec: {"int8", "float32"} for codec in FIRST} | {
        "int8": {"float32"},  # as large as itself
        "truncate": {"float32"},  # 16 numbers of 4 bytes
    }


def test_scoring_candidates_alone_gives_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(project)
    monkeypatch.setattr(rescore, "MOST_PAIRS", 0)
    assert run(project, "rescore", *OPTIONS) == 0
    assert digests(project) == before


def test_the_cube_holds_plain_codecs(study: Path) -> None:
    results = open_lake(study).results
    plain = set(CODECS) - {"sign-mean", "sign-median"}
    assert set(results.codec.values) == plain
    (row,) = [
        r
        for r in table(study)
        if (r["codec"], r["bits"], r["scoring"], r["rescore"], r["metric"], r["k"])
        == ("phase1", "128", "hamming", "", "recall", "10")
    ]
    value = float(results.value.sel(codec="phase1", bits=128, metric="recall", k=10).squeeze())
    assert value == pytest.approx(float(row["value"]), abs=1e-6)


def test_reading_the_further_codecs_through_the_lake(study: Path) -> None:
    lake = open_lake(study)
    assert lake.codes.sel(**CELL, codec="itq", bits=32, seed=1).documents.shape == (400, 4)
    thresholds = {
        variant: lake.codes.sel(**CELL, codec=f"sign-{variant}").threshold.values[0]
        for variant in ("mean", "median")
    }
    documents = vectors(study, "documents")
    np.testing.assert_allclose(thresholds["mean"], documents.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(thresholds["median"], np.median(documents, axis=0), atol=1e-12)
    assert "threshold" not in lake.codes.sel(**CELL, codec="sign")
    with pytest.raises(InvalidInput, match="codec 'itq-32' is not here; there are bfloat16, float16"):
        lake.codes.sel(**CELL, codec="itq-32")
    quality = lake.quality.sel(**CELL)
    assert quality.value.dims == ("configuration", "metric", "k", "query")
    assert {"phase1", "pq", "itq"} <= set(quality.codec.values)
    rescored = quality.isel(configuration=quality.oversample.values > 0)
    assert (np.isfinite(rescored.value.sel(metric="recall")).any(["configuration", "query"]).sum("k")) == 1
    core = lake.quality.sel(**CELL, codec="phase1", scoring="hamming", rescore="", bits=128, seed=1)
    assert np.isfinite(core.value).all()


def keep_too_many(content: dict[str, Any]) -> None:
    content["extend"]["codecs"]["truncate"]["dimensions"] = [16, 65]


def divide_badly(content: dict[str, Any]) -> None:
    content["extend"]["codecs"]["opq"]["code_bytes"] = 24


def ask_for_more_than_there_is(content: dict[str, Any]) -> None:
    content["search"]["k"] = [1, 10, 401]


def rank_anew_with_nothing_larger(content: dict[str, Any]) -> None:
    content["rescore"] |= {"first": ["int8", "float16"], "second": ["int8"]}


def compare_nothing(content: dict[str, Any]) -> None:
    content["regimes"]["second"] = {"codec": "float16"}


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("extend", keep_too_many, "extend.codecs.truncate.dimensions is 65: give at most the dimension 64"),
        (
            "extend",
            divide_badly,
            "extend.codecs.opq.code_bytes is 24: choose a divisor of the dimension 64",
        ),
        ("search-further", ask_for_more_than_there_is, "k is 401"),
        (
            "rescore",
            rank_anew_with_nothing_larger,
            "rescore.second: none is larger than the 64 bytes of the smallest first stage",
        ),
        ("regimes", compare_nothing, "no cell has phase1 and float16 at the same bytes"),
    ],
)
def test_settings_that_do_not_fit_leave_the_earlier_artifact(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    check_refused(project, capsys, change, message, stage, *(() if stage == "regimes" else OPTIONS))


def test_an_oversample_beyond_the_collection_takes_all_of_it(project: Path) -> None:
    """Re-scored with the stored vectors, every document of a collection gives its exact neighbours."""
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["rescore"] |= {"first": ["sign"], "second": ["float32"], "oversample": [1000]}
    write_params(project, content)
    for stage in ("rescore", "quality-further"):
        assert run(project, stage, *OPTIONS) == 0
    quality = rescored_part(project)
    assert quality.sizes["configuration"] == 1
    assert (quality["value"].sel(metric="overlap") == 1).all()
