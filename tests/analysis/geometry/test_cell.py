"""The geometry of a cell as a whole: names, samples, determinism, degenerate cells and refused input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.geometry.cell import GeometrySettings, gap_measures, measure
from analysis.geometry.intervals import Estimate, row_groups
from analysis.geometry.measures import MEASURES
from analysis.geometry.spectrum import Moments
from store.errors import InvalidInput
from tests.oracles import geometry as oracle

Vectors = NDArray[np.float32]

SETTINGS = GeometrySettings(
    sample=60,
    query_sample=40,
    seed=3,
    draws=5,
    confidence=0.95,
    hubness_k=4,
    mle_neighbours=6,
    twonn_discard=0.1,
    outlier_cut=2.0,
    projections=10,
    margin_near=0.2,
)


def cell(seed: int = 0, n: int = 60, q: int = 40, d: int = 8) -> tuple[Vectors, Vectors]:
    """Unit documents and queries with a common direction each."""
    random = np.random.RandomState(seed)
    both = []
    for rows in (n, q):
        vectors = random.standard_normal((rows, d)) + 0.5 * random.standard_normal(d)
        both.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return both[0], both[1]


def values(estimates: dict[str, Estimate]) -> dict[str, float]:
    """Values without their intervals."""
    return {name: e.value for name, e in estimates.items()}


def test_every_measure_is_there_in_order_within_its_interval_and_range() -> None:
    estimates = measure(*cell(), SETTINGS)
    assert list(estimates) == list(MEASURES)
    for name, e in estimates.items():
        assert MEASURES[name].low <= e.ci_low <= e.value <= e.ci_high <= MEASURES[name].high, name
        assert e.sample_size == (60 if name.startswith("documents") else 40), name


def test_a_smaller_cell_is_measured_with_what_it_has() -> None:
    documents, queries = cell(n=30, q=9)
    estimates = measure(documents, queries, SETTINGS)
    assert estimates == measure(documents, queries, replace(SETTINGS, sample=30, query_sample=9))
    for name, e in estimates.items():
        assert e.sample_size == (30 if name.startswith("documents") else 9), name


def test_the_fewest_rows_that_are_measured_leave_neighbours_without_any_group() -> None:
    for least, neighbours, draws in ((9, 6, 5), (24, 20, 10), (14, 6, 2)):
        chosen = replace(
            SETTINGS, sample=60, mle_neighbours=neighbours, hubness_k=1, draws=draws, projections=10
        )
        assert chosen.least_rows == least
        assert np.bincount(row_groups(least, draws)).max() + neighbours < least


def test_methods_table_is_complete() -> None:
    for side in ("documents", "queries"):
        for name in (
            *("mean_cosine", "angular_spread", "isoscore", "partition_score", "effective_rank"),
            *("participation_ratio", "twonn", "mle_dimension", "outlier_dimensions", "hubness"),
            *("top_dimension_variance_share", "variance_heterogeneity", "sign_margin_median"),
        ):
            assert f"{side}_{name}" in MEASURES
    assert all(m.description and m.unit and m.source for m in MEASURES.values())


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_equal_input_gives_equal_results(seed: int) -> None:
    seeded = replace(SETTINGS, seed=seed, sample=50)
    documents, queries = cell()
    assert measure(documents, queries, seeded) == measure(documents.copy(), queries.copy(), seeded)


def test_another_seed_draws_another_sample() -> None:
    documents, queries = cell(n=200)
    first, second = (measure(documents, queries, replace(SETTINGS, seed=s)) for s in (0, 1))
    assert first["documents_mean_cosine"].value != second["documents_mean_cosine"].value


def test_documents_are_sampled_whatever_the_queries_are() -> None:
    documents, queries = cell(n=200, q=90)
    many, few = measure(documents, queries, SETTINGS), measure(documents, queries[:40], SETTINGS)
    of_documents = [name for name in MEASURES if name.startswith("documents")]
    assert [many[name] for name in of_documents] == [few[name] for name in of_documents]


def test_values_of_a_whole_cell_do_not_depend_on_the_order_of_rows() -> None:
    documents, queries = cell()
    order = np.random.RandomState(9).permutation(60)
    shuffled = measure(documents[order], queries[::-1], SETTINGS)
    assert values(shuffled) == pytest.approx(values(measure(documents, queries, SETTINGS)), rel=1e-9)


def test_the_sample_is_drawn_without_replacement() -> None:
    """A cell of which every row is drawn has exactly the oracle's mean cosine."""
    documents, queries = cell()
    expected = oracle.pair_cosines(documents.astype(np.float64)).mean()
    assert measure(documents, queries, SETTINGS)["documents_mean_cosine"].value == pytest.approx(expected)


def test_float16_is_measured_as_its_exact_values() -> None:
    documents, queries = (side.astype(np.float16) for side in cell())
    upcast = measure(documents.astype(np.float32), queries.astype(np.float32), SETTINGS)
    assert measure(documents, queries, SETTINGS) == upcast


@given(st.integers(0, 10_000))
def test_gap_equals_its_literal_formulae(seed: int) -> None:
    documents, queries = (side.astype(np.float64) for side in cell(seed, n=14, q=9, d=4))
    unit_documents, unit_queries = (
        side / np.linalg.norm(side, axis=1, keepdims=True) for side in (documents, queries)
    )
    cosines = oracle.pair_cosines(documents, queries)
    a, b = unit_documents.mean(axis=0), unit_queries.mean(axis=0)
    expected = {
        "mean_distance": np.sqrt(np.sum((a - b) ** 2)),
        "direction_cosine": a @ b / np.sqrt((a @ a) * (b @ b)),
        "mean_cosine": cosines.mean(),
        "angular_spread": cosines.std(),
    }
    found = gap_measures(Moments.of(unit_documents), Moments.of(unit_queries))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_mean_of_zero_has_no_direction() -> None:
    balanced, other = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    found = gap_measures(Moments.of(balanced), Moments.of(other))
    assert np.isnan(found["direction_cosine"])
    assert found["mean_distance"] == 1.0


def test_queries_pushed_away_from_documents_open_the_gap() -> None:
    documents, _ = cell(d=32)
    pushed = documents[:40] + np.eye(32, dtype=np.float32)[0] * 2
    near, far = measure(documents, documents[:40], SETTINGS), measure(documents, pushed, SETTINGS)
    assert far["gap_mean_distance"].ci_low > near["gap_mean_distance"].ci_high
    assert far["gap_mean_cosine"].value < near["gap_mean_cosine"].value


def degenerate(kind: str) -> Vectors:
    """Sixty rows of eight dimensions that are degenerate in the named way."""
    documents = cell()[0].copy()
    if kind == "constant dimension":
        documents[:, 2] = 0.3
    elif kind == "zero dimension":
        documents[:, 2] = 0
    elif kind == "copies":
        documents[10:40] = documents[0]
    elif kind == "only copies":
        documents[:] = documents[0]
    elif kind == "one row unlike the rest":
        documents[1:] = documents[0]
        documents[0] = -documents[0, ::-1]
    elif kind == "rank one":
        documents = np.linspace(1, 2, 60, dtype=np.float32)[:, None] * documents[0]
    elif kind == "opposite":
        documents[30:] = -documents[:30]
    return documents


UNDEFINED_FOR_COPIES = {
    *("isoscore", "effective_rank", "participation_ratio", "twonn", "mle_dimension"),
    *(
        "top_dimension_variance_share",
        "variance_heterogeneity",
        "sign_margin_median",
        "sign_margin_near_share",
    ),
}


@pytest.mark.parametrize(
    ("kind", "undefined"),
    [
        ("constant dimension", set()),
        ("zero dimension", set()),
        ("copies", set()),
        ("only copies", UNDEFINED_FOR_COPIES),
        ("one row unlike the rest", {"twonn", "mle_dimension"}),
        ("rank one", set()),
        ("opposite", set()),
    ],
)
def test_degenerate_cells_are_measured_without_a_warning(kind: str, undefined: set[str]) -> None:
    documents = degenerate(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimates = measure(documents, documents[20:], SETTINGS)
        again = measure(documents, documents[20:], SETTINGS)
    of_documents = {
        name.removeprefix("documents_"): e for name, e in estimates.items() if "documents_" in name
    }
    assert {name for name, e in of_documents.items() if np.isnan(e.value)} == undefined
    np.testing.assert_equal([astuple(e) for e in estimates.values()], [astuple(e) for e in again.values()])


def test_rank_one_has_rank_one() -> None:
    documents = degenerate("rank one")
    estimates = measure(documents, documents[:40], SETTINGS)
    assert estimates["documents_effective_rank"].value == pytest.approx(1.0, abs=1e-4)
    assert estimates["documents_participation_ratio"].value == pytest.approx(1.0, abs=1e-6)
    assert estimates["documents_isoscore"].value == pytest.approx(0.0, abs=1e-6)
    assert estimates["documents_mean_cosine"].value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "geometry.seed must be an integer from 0 to 2**32 - 1, got -1"),
        ("draws", 1, "geometry.draws must be at least 2, got 1"),
        ("confidence", 1.0, "geometry.confidence must be between 0 and 1, got 1.0"),
        ("hubness_k", 0, "geometry.hubness_k must be at least 1, got 0"),
        ("mle_neighbours", 1, "geometry.mle_neighbours must be at least 2, got 1"),
        ("twonn_discard", 0.0, "geometry.twonn_discard must be between 0 and 1, got 0.0"),
        ("outlier_cut", 0.0, "geometry.outlier_cut must be above 0, got 0.0"),
        ("projections", 4, "geometry.projections must be at least geometry.draws, got 4"),
        ("margin_near", 0.0, "geometry.margin_near must be above 0, got 0.0"),
        (
            "sample",
            4,
            "geometry.sample must be at least 9, so that 6 neighbours remain without one of 5 groups, got 4",
        ),
        (
            "query_sample",
            8,
            "geometry.query_sample must be at least 9, so that 6 neighbours remain without one of 5 groups, got 8",
        ),
    ],
)
def test_settings_that_measure_nothing_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        replace(SETTINGS, **{field: value})  # type: ignore[arg-type]
    assert str(caught.value) == message


def with_value(vectors: Vectors, row: int, value: float) -> Vectors:
    """A copy with one whole row replaced."""
    copy = vectors.copy()
    copy[row] = value
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d, q: (d[:8], q),
            "geometry: the cell has 8 documents and needs 9, so that 6 neighbours remain without one of 5 groups: "
            "add documents, or lower geometry.mle_neighbours, hubness_k or draws",
        ),
        (
            lambda d, q: (d, q[:3]),
            "geometry: the cell has 3 queries and needs 9, so that 6 neighbours remain without one of 5 groups: "
            "add queries, or lower geometry.mle_neighbours, hubness_k or draws",
        ),
        (lambda d, q: (d, q[:, :7]), "queries have 7 dimensions, documents 8: embed both with one model"),
        (lambda d, q: (d[:, :1], q), "documents must be (rows, dimensions ≥ 2), got shape (60, 1)"),
        (lambda d, q: (d, q[0]), "queries must be (rows, dimensions ≥ 2), got shape (8,)"),
        (
            lambda d, q: (with_value(d, 17, np.nan), q),
            "documents row 17 is not finite or is all zero: embed it again",
        ),
        (
            lambda d, q: (d, with_value(q, 5, 0.0)),
            "queries row 5 is not finite or is all zero: embed it again",
        ),
    ],
)
def test_vectors_of_another_form_are_refused(
    change: Callable[[Vectors, Vectors], tuple[Vectors, Vectors]], message: str
) -> None:
    documents, queries = change(*cell())
    with pytest.raises(InvalidInput) as caught:
        measure(documents, queries, SETTINGS)
    assert str(caught.value) == message
