from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr
from statsmodels.stats.multitest import multipletests

from analysis.relation.points import RelationSettings
from analysis.relation.relate import COLUMNS, NO_RELATION, NOTHING_BEYOND_BITS, RELATION, relate
from tests.analysis.quality.labelled_cells import shuffled
from tests.paths import ROOT

SETTINGS = RelationSettings(
    permutations=999,
    bootstrap_draws=99,
    bootstrap_weights="rademacher",
    seed=5,
    penalties=(0.01, 0.03, 0.1, 0.3, 1.0),
    confidence=0.95,
)
MODELS, DATASETS, BITS = ["a", "b", "c"], ["x", "y", "z"], [64, 128, 256, 512]
SOURCES = {
    "slope_recall": "recall@10", "recall@10": "recall@10", "retention@10": "recall@10", "ndcg@10": "ndcg@10"
}  # fmt: skip
ANALYSES = {"spearman_cells", "spearman_models", "ols_cr2", "ols_wild", "mixed", "ridge", "lasso"}


def study(
    *, planted: float = 0.0, seed: int = 0, n_features: int = 4, models: int = 3, datasets: int = 3
) -> xr.Dataset:
    """Quality rises with bits and, by `planted`, with feature g0; every other feature is noise."""
    random = np.random.RandomState(seed)
    labels = [(model, dataset) for model in MODELS[:models] for dataset in DATASETS[:datasets]]
    cells = len(labels)

    def per_cell() -> NDArray[np.float64]:
        return np.repeat(random.standard_normal(cells), len(BITS)).reshape(cells, len(BITS))

    features = {f"g{i}": per_cell() for i in range(n_features)} | {"slope_recall": per_cell()}
    rise = 0.05 * np.log2(BITS) + planted * features["g0"]
    targets = {
        name: rise + 0.01 * per_cell() + 0.005 * random.standard_normal(rise.size).reshape(rise.shape)
        for name in ("recall@10", "retention@10", "ndcg@10")
    }
    return points_of(features, targets, SOURCES).assign_coords(
        model=("cell", [model for model, _ in labels]),
        dataset=("cell", [dataset for _, dataset in labels]),
        bits=BITS,
    )


def points_of(
    features: Mapping[str, Any], targets: Mapping[str, Any], sources: Mapping[str, str]
) -> xr.Dataset:
    """Variables (cell, bits) with their roles and sources; labels are the caller's."""
    return xr.Dataset(
        {
            name: (
                ("cell", "bits"),
                np.asarray(values),
                {"role": role} | ({"source": sources[name]} if name in sources else {}),
            )
            for role, columns in (("feature", features), ("target", targets))
            for name, values in columns.items()
        }
    )


def changed(
    points: xr.Dataset, features: Mapping[str, Any], targets: Mapping[str, Any], sources: Mapping[str, str]
) -> xr.Dataset:
    """Other variables over the same points."""
    return points_of(features, targets, sources).assign_coords(points.coords)


def flat(values: xr.DataArray) -> NDArray[np.float64]:
    """The values of all points, in one order."""
    return values.transpose("cell", "bits").values.ravel()


def quiet(points: xr.Dataset, settings: RelationSettings = SETTINGS) -> pd.DataFrame:
    """`relate`, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return relate(points, settings)


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    return quiet(study(planted=0.1))


@pytest.fixture(scope="module")
def null() -> pd.DataFrame:
    return quiet(study(planted=0.0))


def select(relation: pd.DataFrame, **equal: str | int) -> list[Any]:
    """The rows whose columns equal the given values."""
    chosen = np.ones(len(relation), np.bool_)
    for name, value in equal.items():
        chosen &= (relation[name] == value).to_numpy()
    return list(relation[chosen].itertuples(index=False))


def only(relation: pd.DataFrame, **equal: str | int) -> Any:
    rows = select(relation, **equal)
    assert len(rows) == 1, equal
    return rows[0]


def test_every_pair_has_every_analysis_and_no_other(planted: pd.DataFrame) -> None:
    for target, own in (("recall@10", True), ("retention@10", True), ("ndcg@10", False)):
        features = {"g0", "g1", "g2", "g3", "log2_bits"} | (set() if own else {"slope_recall"})
        for analysis in ANALYSES - {"ridge", "lasso"}:
            rows = select(planted, target=target, analysis=analysis)
            lengths = [*BITS, "all"] if analysis.startswith("spearman") else ["all"]
            assert {(r.feature, r.bits) for r in rows} == {(f, b) for f in features for b in lengths}
            assert len(rows) == len(features) * len(lengths)
        for method in ("ridge", "lasso"):
            coefficients = select(planted, target=target, analysis=method, statistic="coefficient")
            assert {r.feature for r in coefficients} == features
        left = select(planted, target=target, feature="slope_recall")
        if own:
            assert [r.analysis for r in left] == ["excluded"]
            assert left[0].note == "computed from recall@10, as is the target"
        else:
            assert "excluded" not in {r.analysis for r in left}


def test_counts_stand_beside_every_figure(planted: pd.DataFrame) -> None:
    for row in select(planted):
        assert (row.n_cells, row.n_models, row.n_datasets) == (9, 3, 3)
        assert row.n_points == (36 if row.bits == "all" else 9)


def test_the_table_has_its_columns_and_every_row_once(planted: pd.DataFrame) -> None:
    assert tuple(planted.columns) == COLUMNS == (
        "analysis", "target", "feature", "bits", "statistic", "value", "ci_low", "ci_high", "p_value",
        "p_holm", "n_points", "n_cells", "n_models", "n_datasets", "note",
    )  # fmt: skip
    assert not planted.duplicated(["analysis", "target", "feature", "bits", "statistic"]).any()


def test_a_planted_relation_is_found(planted: pd.DataFrame) -> None:
    for target in ("recall@10", "ndcg@10"):
        at = {"target": target, "feature": "g0"}
        for bits in BITS:
            row = only(planted, analysis="spearman_cells", bits=bits, **at)
            assert row.value > 0.9
            assert row.p_value <= 0.003
            assert row.p_holm < 0.05
            assert row.note == "random 999 permutations"
        for analysis in ("ols_cr2", "mixed"):
            row = only(planted, analysis=analysis, **at)
            scale = float(study()["g0"].std())
            assert row.ci_low < 0.1 * scale < row.ci_high
            assert row.value == pytest.approx(0.1 * scale, rel=0.1)
            assert row.p_value < 0.01
            assert "degrees of freedom" in row.note
        wild = only(planted, analysis="ols_wild", **at)
        assert wild.p_value < 0.05
        assert wild.note == "all 512 weight vectors"
        for method in ("ridge", "lasso"):
            verdict = only(planted, analysis=method, target=target, statistic="verdict")
            assert verdict.note == RELATION
            assert verdict.value > 0.3
        assert only(planted, analysis="lasso", statistic="share_of_fits_selected", **at).value == 1


def test_the_floor_of_p_over_models_is_named(planted: pd.DataFrame) -> None:
    row = only(planted, analysis="spearman_models", target="recall@10", feature="g0", bits="all")
    assert row.p_value >= 1 / 6
    assert row.note == "all 6 permutations; p cannot fall below 1/3! = 0.167"


def test_without_a_relation_only_bits_count(null: pd.DataFrame) -> None:
    for target in ("recall@10", "retention@10", "ndcg@10"):
        for method in ("ridge", "lasso"):
            assert only(null, analysis=method, target=target, statistic="verdict").note in (
                NO_RELATION, NOTHING_BEYOND_BITS
            )  # fmt: skip
        bits = only(null, analysis="ols_cr2", target=target, feature="log2_bits")
        assert bits.p_value < 1e-4
    beyond = only(null, analysis="lasso", target="recall@10", statistic="leave_model_out_skill")
    assert beyond.value > 0.5
    assert only(null, analysis="lasso", target="recall@10", statistic="verdict").note == NOTHING_BEYOND_BITS


def test_correlations_are_those_of_the_points(planted: pd.DataFrame) -> None:
    points = study(planted=0.1)
    x, y = points["g1"], points["ndcg@10"]
    at = {"analysis": "spearman_cells", "target": "ndcg@10", "feature": "g1"}
    assert only(planted, bits="all", **at).value == pytest.approx(spearmanr(flat(x), flat(y))[0])
    expected = spearmanr(x.sel(bits=256), y.sel(bits=256))[0]
    assert only(planted, bits=256, **at).value == pytest.approx(expected)


def test_bits_themselves_cannot_be_permuted(planted: pd.DataFrame) -> None:
    row = only(planted, analysis="spearman_cells", target="recall@10", feature="log2_bits", bits="all")
    points = study(planted=0.1)
    bits = points["bits"].broadcast_like(points["recall@10"])
    assert row.value == pytest.approx(spearmanr(flat(bits), flat(points["recall@10"]))[0])
    assert np.isnan(row.p_value)
    assert row.note == "log2_bits is the same in every cell: permuting cannot test it"
    fixed = only(planted, analysis="spearman_cells", target="recall@10", feature="log2_bits", bits=64)
    assert np.isnan(fixed.value)
    assert fixed.note == "log2_bits is constant"


def test_holm_covers_the_features_of_one_question(planted: pd.DataFrame) -> None:
    rows = select(planted, analysis="spearman_cells", target="ndcg@10", bits=128)
    tested = [r for r in rows if np.isfinite(r.p_value)]
    assert len(tested) == 5
    expected = multipletests([r.p_value for r in tested], method="holm")[1]
    assert [r.p_holm for r in tested] == pytest.approx(expected)
    assert all(np.isnan(r.p_holm) for r in rows if np.isnan(r.p_value))


def test_same_seed_same_rows_in_any_order_of_points(planted: pd.DataFrame) -> None:
    points = study(planted=0.1)
    for seed in range(3):
        pd.testing.assert_frame_equal(quiet(shuffled(points, seed=seed)), planted, check_exact=True)
    other = quiet(points, dataclasses.replace(SETTINGS, seed=6))
    moved = {r.analysis for r, s in zip(select(planted), select(other), strict=True) if repr(r) != repr(s)}
    assert moved == {"spearman_cells"}


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        (
            {"models": 1, "datasets": 1},
            "not enough cells: 1, needs 3; not enough models: 1, needs 2; not enough datasets: 1, needs 2",
        ),
        ({"models": 2, "datasets": 1}, "not enough cells: 2, needs 3; not enough datasets: 1, needs 2"),
        ({"models": 3, "datasets": 1}, "not enough datasets: 1, needs 2"),
        ({"models": 1, "datasets": 3}, "not enough models: 1, needs 2"),
    ],
)
def test_small_studies_give_a_table_that_says_so(shape: dict[str, int], note: str) -> None:
    relation = quiet(study(planted=0.1, **shape))
    assert {r.analysis for r in select(relation)} == ANALYSES | {"excluded"}
    for row in select(relation):
        assert np.isnan([row.value, row.ci_low, row.ci_high, row.p_value, row.p_holm]).all()
        assert row.note == note or row.analysis == "excluded"


@pytest.mark.parametrize("shape", [{"models": 2, "datasets": 2}, {"models": 2}, {"datasets": 2}])
def test_the_smallest_studies_are_analysed(shape: dict[str, Any]) -> None:
    relation = quiet(study(planted=0.1, **shape))
    row = only(relation, analysis="spearman_cells", target="ndcg@10", feature="g0", bits=64)
    cells = shape.get("models", 3) * shape.get("datasets", 3)
    assert row.n_cells == cells
    assert 0 < row.p_value <= 1
    for method in ("ridge", "lasso"):
        assert np.isfinite(only(relation, analysis=method, target="ndcg@10", statistic="verdict").value)
    note = only(relation, analysis="lasso", target="ndcg@10", statistic="leave_model_out_mae").note
    assert ("penalty chosen by leaving out cells" in note) == (shape.get("models") == 2)


def test_columns_that_cannot_be_used_are_named_and_harm_no_other(planted: pd.DataFrame) -> None:
    points = study(planted=0.1)
    constant, holed = np.full((9, 4), 0.1), points["g1"].values.copy()
    holed[1] = np.nan
    own = {
        role: {str(name): values for name, values in points.items() if values.attrs["role"] == role}
        for role in ("feature", "target")
    }
    features = {**own["feature"], "flat": constant, "holed": holed}
    targets = {**own["target"], "flat_quality": constant, "holed_quality": holed}
    sources = {**SOURCES, "flat_quality": "other", "holed_quality": "other"}
    relation = quiet(changed(points, features, targets, sources))
    for name, note in (("flat", "flat is constant"), ("holed", "holed is not finite at 4 of 36 points")):
        rows = select(relation, target="ndcg@10", feature=name, bits="all")
        assert {r.analysis for r in rows} == ANALYSES - {"ridge", "lasso"}
        assert {r.note for r in rows} == {note}
        assert np.isnan([(r.value, r.p_value, r.p_holm) for r in rows]).all()
        quality = select(relation, target=f"{name}_quality", bits="all")
        assert {r.analysis for r in quality} == ANALYSES
        assert all(note.replace(name, f"{name}_quality") in r.note for r in quality)
        assert np.isnan([(r.value, r.p_value) for r in quality]).all()
    score = only(relation, analysis="ridge", target="ndcg@10", statistic="leave_model_out_mae")
    expected = only(planted, analysis="ridge", target="ndcg@10", statistic="leave_model_out_mae")
    assert score.value == expected.value
    assert score.note == "6 features; left out: flat is constant; holed is not finite at 4 of 36 points"


def test_a_target_per_cell_and_a_feature_of_bits_alone() -> None:
    points = study(planted=0.1)
    per_cell = {"bfi": points["g0"] + 0.1 * points["g1"]}
    features = {"g0": points["g0"], "twice": np.tile(2 * np.log2(BITS) + 1, (9, 1))}
    relation = quiet(changed(points, features, per_cell, {}))
    assert (
        only(relation, analysis="mixed", target="bfi", feature="g0").note
        == "the target does not vary within cells"
    )
    assert only(relation, analysis="ols_cr2", target="bfi", feature="g0").p_value < 0.01
    for analysis in ("ols_cr2", "ols_wild", "mixed"):
        assert (
            only(relation, analysis=analysis, target="bfi", feature="twice").note
            == "twice is collinear with log2_bits"
        )
    own = changed(points, features, {"bfi": 3 * points["g0"]}, {})
    exact = select(quiet(own), target="bfi", feature="g0", bits="all")
    assert {r.note for r in exact if r.analysis.startswith("ols")} == {
        "the fit is exact: no error to test against"
    }
    assert np.isnan([r.p_value for r in exact if r.analysis.startswith("ols")]).all()


def test_one_length_needs_no_bits_in_the_model() -> None:
    points = study(planted=0.1)
    one = points.sel(bits=[128])
    relation = quiet(one)
    assert only(relation, analysis="ols_cr2", target="ndcg@10", feature="g0").p_value < 0.01
    assert (
        only(relation, analysis="ols_cr2", target="ndcg@10", feature="log2_bits").note
        == "log2_bits is constant"
    )


def test_a_broken_grid_cannot_exchange_models() -> None:
    points = study(planted=0.1)
    broken = points.isel(cell=np.flatnonzero((points["model"] != "a") | (points["dataset"] != "x")))
    relation = quiet(broken)
    row = only(relation, analysis="spearman_models", target="ndcg@10", feature="g0", bits="all")
    assert np.isfinite(row.value)
    assert np.isnan(row.p_value)
    assert row.note == "not every model is in every dataset: labels cannot be exchanged"
    assert only(relation, analysis="spearman_cells", target="ndcg@10", feature="g0", bits=64).p_value < 0.01


def test_full_size_stays_within_ten_seconds_and_starts_light() -> None:
    """Processor time of one fresh process, so that busy neighbours do not count."""
    script = (
        "import sys, time\n"
        "from analysis.relation.relate import relate\n"
        "heavy = {'scipy', 'sklearn', 'statsmodels', 'pandas', 'xarray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import dataclasses\n"
        "from tests.analysis.relation.test_relate import SETTINGS, study\n"
        "points = study(planted=0.05, n_features=43)\n"
        "grid = tuple(10 ** (-i / 4) for i in range(13))\n"
        "settings = dataclasses.replace(SETTINGS, permutations=10_000, penalties=grid)\n"
        "rows = relate(points, settings)\n"
        "print(len(rows), time.process_time())\n"
    )
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **one_thread},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n_rows, seconds = done.stdout.split()
    assert int(n_rows) > 2000
    assert float(seconds) <= 10
