from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from statsmodels.stats.multitest import multipletests

from analysis.relation.points import Points, RelationSettings
from analysis.relation.relate import NO_RELATION, NOTHING_BEYOND_BITS, RELATION, Relation, Row, relate
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
) -> Points:
    """Quality rises with bits and, by `planted`, with feature g0; every other feature is noise."""
    random = np.random.RandomState(seed)
    model, dataset, bits = (
        a.ravel() for a in np.meshgrid(MODELS[:models], DATASETS[:datasets], BITS, indexing="ij")
    )
    cells = models * datasets

    def per_cell() -> NDArray[np.float64]:
        return np.repeat(random.standard_normal(cells), len(BITS))

    features = {f"g{i}": per_cell() for i in range(n_features)} | {"slope_recall": per_cell()}
    rise = 0.05 * np.log2(bits) + planted * features["g0"]
    targets = {
        name: rise + 0.01 * per_cell() + 0.005 * random.standard_normal(len(bits))
        for name in ("recall@10", "retention@10", "ndcg@10")
    }
    return Points(model, dataset, bits, features, targets, SOURCES)


def quiet(points: Points, settings: RelationSettings = SETTINGS) -> Relation:
    """`relate`, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return relate(points, settings)


@pytest.fixture(scope="module")
def planted() -> Relation:
    return quiet(study(planted=0.1))


@pytest.fixture(scope="module")
def null() -> Relation:
    return quiet(study(planted=0.0))


def only(relation: Relation, **equal: str | int) -> Row:
    rows = relation.select(**equal)
    assert len(rows) == 1, equal
    return rows[0]


def test_every_pair_has_every_analysis_and_no_other(planted: Relation) -> None:
    for target, own in (("recall@10", True), ("retention@10", True), ("ndcg@10", False)):
        features = {"g0", "g1", "g2", "g3", "log2_bits"} | (set() if own else {"slope_recall"})
        for analysis in ANALYSES - {"ridge", "lasso"}:
            rows = planted.select(target=target, analysis=analysis)
            lengths = [*BITS, "all"] if analysis.startswith("spearman") else ["all"]
            assert {(r.feature, r.bits) for r in rows} == {(f, b) for f in features for b in lengths}
            assert len(rows) == len(features) * len(lengths)
        for method in ("ridge", "lasso"):
            coefficients = planted.select(target=target, analysis=method, statistic="coefficient")
            assert {r.feature for r in coefficients} == features
        left = planted.select(target=target, feature="slope_recall")
        if own:
            assert [r.analysis for r in left] == ["excluded"]
            assert left[0].note == "computed from recall@10, as is the target"
        else:
            assert "excluded" not in {r.analysis for r in left}


def test_counts_stand_beside_every_figure(planted: Relation) -> None:
    for row in planted.rows:
        assert (row.n_cells, row.n_models, row.n_datasets) == (9, 3, 3)
        assert row.n_points == (36 if row.bits == "all" else 9)


def test_records_have_the_columns_in_order(planted: Relation) -> None:
    records = planted.records()
    assert list(records[0]) == [
        "analysis", "target", "feature", "bits", "statistic", "value", "ci_low", "ci_high", "p_value",
        "p_holm", "n_points", "n_cells", "n_models", "n_datasets", "note",
    ]  # fmt: skip
    assert len(records) == len(planted.rows)
    assert len({tuple(map(str, list(r.values())[:5])) for r in records}) == len(records)


def test_a_planted_relation_is_found(planted: Relation) -> None:
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
            scale = study().features["g0"].std()
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


def test_the_floor_of_p_over_models_is_named(planted: Relation) -> None:
    row = only(planted, analysis="spearman_models", target="recall@10", feature="g0", bits="all")
    assert row.p_value >= 1 / 6
    assert row.note == "all 6 permutations; p cannot fall below 1/3! = 0.167"


def test_without_a_relation_only_bits_count(null: Relation) -> None:
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


def test_correlations_are_those_of_the_points(planted: Relation) -> None:
    points = study(planted=0.1)
    x, y = points.features["g1"], points.targets["ndcg@10"]
    at = {"analysis": "spearman_cells", "target": "ndcg@10", "feature": "g1"}
    assert only(planted, bits="all", **at).value == pytest.approx(spearmanr(x, y)[0])
    pick = points.bits == 256
    assert only(planted, bits=256, **at).value == pytest.approx(spearmanr(x[pick], y[pick])[0])


def test_bits_themselves_cannot_be_permuted(planted: Relation) -> None:
    row = only(planted, analysis="spearman_cells", target="recall@10", feature="log2_bits", bits="all")
    assert row.value == pytest.approx(spearmanr(study().bits, study(planted=0.1).targets["recall@10"])[0])
    assert np.isnan(row.p_value)
    assert row.note == "log2_bits is the same in every cell: permuting cannot test it"
    fixed = only(planted, analysis="spearman_cells", target="recall@10", feature="log2_bits", bits=64)
    assert np.isnan(fixed.value)
    assert fixed.note == "log2_bits is constant"


def test_holm_covers_the_features_of_one_question(planted: Relation) -> None:
    rows = planted.select(analysis="spearman_cells", target="ndcg@10", bits=128)
    tested = [r for r in rows if np.isfinite(r.p_value)]
    assert len(tested) == 5
    expected = multipletests([r.p_value for r in tested], method="holm")[1]
    assert [r.p_holm for r in tested] == pytest.approx(expected)
    assert all(np.isnan(r.p_holm) for r in rows if np.isnan(r.p_value))


def test_same_seed_same_rows_in_any_order_of_points(planted: Relation) -> None:
    points = study(planted=0.1)
    order = np.random.RandomState(1).permutation(36)
    shuffled = Points(
        points.model[order], points.dataset[order], points.bits[order],
        {name: values[order] for name, values in points.features.items()},
        {name: values[order] for name, values in points.targets.items()},
        points.sources,
    )  # fmt: skip
    assert repr(quiet(shuffled)) == repr(planted)
    other = quiet(points, dataclasses.replace(SETTINGS, seed=6))
    moved = {r.analysis for r, s in zip(planted.rows, other.rows, strict=True) if repr(r) != repr(s)}
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
    assert {r.analysis for r in relation.rows} == ANALYSES | {"excluded"}
    for row in relation.rows:
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


def test_columns_that_cannot_be_used_are_named_and_harm_no_other(planted: Relation) -> None:
    points = study(planted=0.1)
    constant, holed = np.full(36, 0.1), points.features["g1"].copy()
    holed[4:8] = np.nan
    features = {**points.features, "flat": constant, "holed": holed}
    flat_target = {**points.targets, "flat_quality": constant, "holed_quality": holed}
    sources = {**SOURCES, "flat_quality": "other", "holed_quality": "other"}
    relation = quiet(dataclasses.replace(points, features=features, targets=flat_target, sources=sources))
    for name, note in (("flat", "flat is constant"), ("holed", "holed is not finite at 4 of 36 points")):
        rows = relation.select(target="ndcg@10", feature=name, bits="all")
        assert {r.analysis for r in rows} == ANALYSES - {"ridge", "lasso"}
        assert {r.note for r in rows} == {note}
        assert np.isnan([(r.value, r.p_value, r.p_holm) for r in rows]).all()
        quality = relation.select(target=f"{name}_quality", bits="all")
        assert {r.analysis for r in quality} == ANALYSES
        assert all(note.replace(name, f"{name}_quality") in r.note for r in quality)
        assert np.isnan([(r.value, r.p_value) for r in quality]).all()
    score = only(relation, analysis="ridge", target="ndcg@10", statistic="leave_model_out_mae")
    expected = only(planted, analysis="ridge", target="ndcg@10", statistic="leave_model_out_mae")
    assert score.value == expected.value
    assert score.note == "6 features; left out: flat is constant; holed is not finite at 4 of 36 points"


def test_a_target_per_cell_and_a_feature_of_bits_alone() -> None:
    points = study(planted=0.1)
    per_cell = {"bfi": points.features["g0"] + 0.1 * points.features["g1"]}
    features = {"g0": points.features["g0"], "twice": 2 * np.log2(points.bits) + 1}
    relation = quiet(dataclasses.replace(points, features=features, targets=per_cell, sources={}))
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
    own = dataclasses.replace(points, targets={"bfi": 3 * features["g0"]}, features=features, sources={})
    exact = quiet(own).select(target="bfi", feature="g0", bits="all")
    assert {r.note for r in exact if r.analysis.startswith("ols")} == {
        "the fit is exact: no error to test against"
    }
    assert np.isnan([r.p_value for r in exact if r.analysis.startswith("ols")]).all()


def test_one_length_needs_no_bits_in_the_model() -> None:
    points = study(planted=0.1)
    pick = points.bits == 128
    one = Points(
        points.model[pick], points.dataset[pick], points.bits[pick],
        {name: values[pick] for name, values in points.features.items()},
        {name: values[pick] for name, values in points.targets.items()},
        points.sources,
    )  # fmt: skip
    relation = quiet(one)
    assert only(relation, analysis="ols_cr2", target="ndcg@10", feature="g0").p_value < 0.01
    assert (
        only(relation, analysis="ols_cr2", target="ndcg@10", feature="log2_bits").note
        == "log2_bits is constant"
    )


def test_a_broken_grid_cannot_exchange_models() -> None:
    points = study(planted=0.1)
    keep = ~((points.model == "a") & (points.dataset == "x"))
    broken = Points(
        points.model[keep], points.dataset[keep], points.bits[keep],
        {name: values[keep] for name, values in points.features.items()},
        {name: values[keep] for name, values in points.targets.items()},
        points.sources,
    )  # fmt: skip
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
        "heavy = {'scipy', 'sklearn', 'statsmodels', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import dataclasses\n"
        "from tests.analysis.relation.test_relate import SETTINGS, study\n"
        "points = study(planted=0.05, n_features=43)\n"
        "grid = tuple(10 ** (-i / 4) for i in range(13))\n"
        "settings = dataclasses.replace(SETTINGS, permutations=10_000, penalties=grid)\n"
        "rows = relate(points, settings).rows\n"
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
