"""Observational relation between the geometry of cells and the quality of their codes.

Correlation, regression and held-out prediction over (cell, bits) points. docs/relation.md says what may be concluded
from each figure; none is evidence of cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.intervals.simultaneous import holm
from analysis.relation import prediction as relation_prediction
from analysis.relation import rank as relation_rank
from analysis.relation.mixed import mixed_slope
from analysis.relation.points import LOG2_BITS, PointGrid, RelationSettings, Row, defect
from analysis.relation.regression import Slope, WildWeights, ols_cr2, wild_p, wild_weights

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

COLUMNS = tuple(column.name for column in fields(Row))
"""The columns of ``report/relation.csv``."""

SCHEMES = ("leave_model_out", "leave_dataset_out")
NO_RELATION = "no usable relation"
NOTHING_BEYOND_BITS = "no usable relation beyond bits"
RELATION = "beats the mean, also at the same bits, in both schemes"


def relate(points: xr.Dataset, settings: RelationSettings) -> pd.DataFrame:
    """Relate every feature to every target: rank correlation, regression, prediction of left-out groups.

    `points` are over (cell, bits), as `analysis.relation.points` describes them. The table has `COLUMNS`, one row a
    figure with the counts it rests on, in an order that does not depend on that of the points. Rows by `analysis`:
    `spearman_cells` and `spearman_models` (ρ with p from permuting whole cells or models, at each bits and over
    all), `ols_cr2`, `ols_wild` and `mixed` (slope per standard deviation of the feature, log2 bits held fixed),
    `ridge` and `lasso` (scores, coefficients, `verdict`), `excluded` (features that share the target's source). A
    figure that cannot be computed is NaN with a note. Deterministic in `settings.seed`. Raises InvalidInput for points
    that `PointGrid.of` refuses.
    """
    import pandas as pd

    grid = PointGrid.of(points)
    rows = [*_excluded_rows(grid), *_rank_rows(grid, settings), *_slope_rows(grid, settings)]
    rows += _prediction_rows(grid, settings)
    # One length is a number, all of them together are not.
    return pd.DataFrame([asdict(row) for row in _with_holm(rows)], columns=COLUMNS).astype({"bits": object})


def _row(
    grid: PointGrid,
    analysis: str,
    target: str,
    feature: str,
    statistic: str,
    value: float = np.nan,
    *,
    bits: int | str = "all",
    p_value: float = np.nan,
    low: float = np.nan,
    high: float = np.nan,
    note: str = "",
) -> Row:
    counts = grid.counts
    n_points = counts["cells"] * (len(grid.bits) if bits == "all" else 1)
    return Row(
        analysis, target, feature, bits, statistic, value, low, high, p_value, np.nan,
        n_points, counts["cells"], counts["models"], counts["datasets"], note,
    )  # fmt: skip


def _pairs(grid: PointGrid) -> Iterator[tuple[str, str]]:
    """Every (target, feature) that may be related."""
    for target in grid.targets:
        for feature in grid.features:
            if not grid.own(feature, target):
                yield target, feature


def _obstacle(grid: PointGrid, target: str, feature: str, at: slice = slice(None)) -> str:
    return (
        grid.too_small()
        or defect(target, grid.targets[target][:, at])
        or defect(feature, grid.features[feature][:, at])
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _excluded_rows(grid: PointGrid) -> Iterator[Row]:
    for target in grid.targets:
        for feature in grid.features:
            if grid.own(feature, target):
                note = f"computed from {grid.sources[feature]}, as is the target"
                yield _row(grid, "excluded", target, feature, "source", note=note)


def _rank_rows(grid: PointGrid, settings: RelationSettings) -> list[Row]:
    """Spearman's ρ of every pair at each bits and over all, with p from cells and from models."""
    rows: list[Row] = []
    tested: list[int] = []  # rows that can be tested, and the gram of each
    grams: list[NDArray[np.float64]] = []
    spans: list[tuple[int | str, slice]] = [(int(b), slice(i, i + 1)) for i, b in enumerate(grid.bits)]
    spans.append(("all", slice(None)))
    columns = {**grid.features, **grid.targets}
    ranks = {
        (name, bits): relation_rank.unit_ranks(values[:, at])
        for name, values in columns.items()
        for bits, at in spans
        if not defect(name, values[:, at])
    }
    for target, feature in _pairs(grid):
        for bits, at in spans:
            note, value = _obstacle(grid, target, feature, at), np.nan
            if not note:
                gram = relation_rank.gram(ranks[feature, bits], ranks[target, bits])
                value = float(np.trace(gram))
                if np.any(np.ptp(ranks[feature, bits], axis=0)):
                    tested.append(len(rows))
                    grams.append(gram)
                else:
                    note = f"{feature} is the same in every cell: permuting cannot test it"
            rows.append(_row(grid, "", target, feature, "rho", value, bits=bits, note=note))
    n, most, seed = grid.counts, settings.permutations, settings.seed
    by_model = relation_rank.relabel_models(grid.models, grid.datasets, most, seed)
    floor = f"p cannot fall below 1/{n['models']}! = {1 / factorial(n['models']):.3g}"
    result: list[Row] = []
    for analysis, relabelings, remark in (
        ("spearman_cells", relation_rank.relabel(n["cells"], most, seed), ""),
        ("spearman_models", by_model, floor),
    ):
        if relabelings is None:
            p = np.full(len(grams), np.nan)
            remark = "not every model is in every dataset: labels cannot be exchanged"
        else:
            p = relation_rank.permutation_p(grams, relabelings)
            kind = "all" if relabelings.exact else "random"
            remark = _joined(f"{kind} {len(relabelings.table)} permutations", remark)
        final = [replace(row, analysis=analysis) for row in rows]
        for i, value in zip(tested, p, strict=True):
            final[i] = replace(final[i], p_value=float(value), note=remark)
        result += final
    return result


def _slope_rows(grid: PointGrid, settings: RelationSettings) -> Iterator[Row]:
    """Slope of every pair by OLS (CR2, wild bootstrap) and with a random intercept per cell."""
    n_cells, n_bits = len(grid.cells), len(grid.bits)
    clusters = np.repeat(np.arange(n_cells), n_bits)
    weights = wild_weights(n_cells, settings.bootstrap_weights, settings.bootstrap_draws, settings.seed)
    for target, feature in _pairs(grid):
        note = _obstacle(grid, target, feature)
        if note:
            robust = mixed = Slope.missing(note)
            p_wild, wild_note = np.nan, note
        else:
            y, design = grid.targets[target].ravel(), _design(grid, feature)
            if np.linalg.matrix_rank(design) < design.shape[1]:
                robust = mixed = Slope.missing(f"{feature} is collinear with {LOG2_BITS}")
                p_wild, wild_note = np.nan, robust.note
            else:
                robust = ols_cr2(y, design, clusters, 1, settings.confidence)
                mixed = mixed_slope(y, design, clusters, 1, settings.confidence)
                p_wild, wild_note = _wild(y, design, clusters, weights, robust)
        yield _slope_row(grid, "ols_cr2", target, feature, robust)
        yield _row(grid, "ols_wild", target, feature, "slope", robust.value, p_value=p_wild, note=wild_note)
        yield _slope_row(grid, "mixed", target, feature, mixed)


def _wild(
    target: NDArray[np.float64],
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
    weights: WildWeights,
    robust: Slope,
) -> tuple[float, str]:
    if not np.isfinite(robust.p_value):
        return np.nan, robust.note
    kind = "all" if weights.exact else "random"
    return wild_p(target, design, clusters, 1, weights), f"{kind} {len(weights.table)} weight vectors"


def _slope_row(grid: PointGrid, analysis: str, target: str, feature: str, slope: Slope) -> Row:
    df = f"{slope.df:.3g} degrees of freedom" if np.isfinite(slope.df) else ""
    return _row(
        grid, analysis, target, feature, "slope", slope.value,
        p_value=slope.p_value, low=slope.low, high=slope.high, note=_joined(df, slope.note),
    )  # fmt: skip


def _design(grid: PointGrid, feature: str) -> NDArray[np.float64]:
    """(points, 2 or 3): constant, standardised feature, standardised log2 bits unless that is the feature."""
    columns = [grid.features[feature].ravel()]
    if feature != LOG2_BITS and len(grid.bits) > 1:
        columns.append(grid.features[LOG2_BITS].ravel())
    standard = [(c - c.mean()) / c.std() for c in columns]
    return np.column_stack([np.ones(len(columns[0])), *standard])


def _prediction_rows(grid: PointGrid, settings: RelationSettings) -> Iterator[Row]:
    """Scores, coefficients and a verdict for ridge and lasso with every admissible feature."""
    for target in grid.targets:
        candidates = [f for t, f in _pairs(grid) if t == target]
        obstacles = {f: defect(f, grid.features[f]) for f in candidates}
        usable = [f for f in candidates if not obstacles[f]]
        note = grid.too_small() or defect(target, grid.targets[target])
        if not note and not usable:
            note = "no feature varies"
        for method in relation_prediction.METHODS:
            if note:
                yield _row(grid, method, target, "all", "verdict", note=note)
            else:
                left_out = _joined(*(text for text in obstacles.values() if text))
                yield from _method_rows(grid, settings, target, method, usable, left_out)


def _method_rows(
    grid: PointGrid, settings: RelationSettings, target: str, method: str, usable: list[str], left_out: str
) -> Iterator[Row]:
    n_bits = len(grid.bits)
    x = np.column_stack([grid.features[f].ravel() for f in usable])
    y, bits = grid.targets[target].ravel(), np.tile(grid.bits, len(grid.cells))
    cells = np.repeat(np.arange(len(grid.cells)), n_bits)
    models = np.repeat(grid.models, n_bits)
    skills: list[tuple[float, float]] = []
    selected = []
    for scheme, groups in zip(SCHEMES, (models, np.repeat(grid.datasets, n_bits)), strict=True):
        held = relation_prediction.held_out(method, x, y, groups, cells, bits, settings.penalties)
        scores = relation_prediction.prediction_scores(y, held, bits)
        skills.append((scores["skill"], scores["skill_at_bits"]))
        selected.append(held.selected)
        note = _joined(
            f"{len(usable)} features",
            f"left out: {left_out}" if left_out else "",
            "penalty chosen by leaving out cells" if held.fallback else "",
        )
        for name, value in scores.items():
            yield _row(grid, method, target, "all", f"{scheme}_{name}", value, note=note)
    yield _row(grid, method, target, "all", "verdict", float(np.min(skills)), note=_verdict(skills))
    fit = relation_prediction.tuned_fit(method, x, y, models, settings.penalties)
    shares = np.vstack(selected).mean(axis=0)
    for i, feature in enumerate(usable):
        note = f"penalty {fit.penalty:.3g}"
        yield _row(grid, method, target, feature, "coefficient", float(fit.coefficients[i]), note=note)
        if method == "lasso":
            yield _row(grid, method, target, feature, "share_of_fits_selected", float(shares[i]))


def _verdict(skills: list[tuple[float, float]]) -> str:
    """Words for (skill, skill at the same bits) of each scheme."""
    if not all(skill > 0 for skill, _ in skills):
        return NO_RELATION
    return RELATION if all(at_bits > 0 for _, at_bits in skills) else NOTHING_BEYOND_BITS


def _with_holm(rows: list[Row]) -> list[Row]:
    """Holm's adjustment (1979) across features, within one analysis, target, bits and statistic."""
    families: dict[tuple[str, str, int | str, str], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if np.isfinite(row.p_value):
            families[row.analysis, row.target, row.bits, row.statistic].append(i)
    adjusted = list(rows)
    for members in families.values():
        for i, p in zip(members, holm(np.array([rows[i].p_value for i in members])), strict=True):
            adjusted[i] = replace(rows[i], p_holm=float(p))
    return adjusted
