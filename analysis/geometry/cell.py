"""Geometry of a cell: how its documents and queries fill the space, each figure with its interval.

``measure`` is the entry; ``MEASURES`` of analysis/geometry/measures.py names what it returns. The formulae
and the rules for undefined values are in docs/geometry.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from analysis.geometry.intervals import Estimate, Replicates, interval, row_groups
from analysis.geometry.margins import coordinate_replicates, projection_replicates
from analysis.geometry.measures import MEASURES
from analysis.geometry.neighbours import neighbour_replicates, query_hubness_replicates
from analysis.geometry.spectrum import Moments, moment_replicates, unit_rows
from store.errors import InvalidInput
from store.numerics.products import product

Array = NDArray[np.float64]

_DIGITS = 6  # significant ones of a figure


@dataclass(frozen=True)
class GeometrySettings:
    """The section ``geometry`` of params.yaml; every cell is measured with the same one.

    sample, query_sample: rows drawn without replacement, or all where there are fewer; several measures depend on
    their number, which is recorded.
    seed: of the drawn rows and the random projections.
    draws: groups of the delete-a-group jackknife. confidence: of the intervals, in (0, 1).
    hubness_k: neighbours that count as an occurrence. mle_neighbours: k of the maximum-likelihood dimension.
    twonn_discard: share of the largest distance ratios dropped, in (0, 1).
    outlier_cut: standard deviations across dimensions beyond which a dimension is an outlier.
    projections: Gaussian directions for the sign margins. margin_near: margins below it count as near zero.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # a misspelt key is refused

    sample: int
    query_sample: int
    seed: int
    draws: int
    confidence: float
    hubness_k: int
    mle_neighbours: int
    twonn_discard: float
    outlier_cut: float
    projections: int
    margin_near: float

    def __post_init__(self) -> None:
        """Refuse values that no cell could be measured with.

        Raises: InvalidInput naming the field.
        """
        _require(0 <= self.seed < 2**32, "seed", self.seed, "an integer from 0 to 2**32 - 1")
        _require(self.draws >= 2, "draws", self.draws, "at least 2")
        _require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1")
        _require(self.hubness_k >= 1, "hubness_k", self.hubness_k, "at least 1")
        _require(self.mle_neighbours >= 2, "mle_neighbours", self.mle_neighbours, "at least 2")
        _require(0 < self.twonn_discard < 1, "twonn_discard", self.twonn_discard, "between 0 and 1")
        _require(self.outlier_cut > 0, "outlier_cut", self.outlier_cut, "above 0")
        _require(self.projections >= self.draws, "projections", self.projections, "at least geometry.draws")
        _require(self.margin_near > 0, "margin_near", self.margin_near, "above 0")
        for field, rows in (("sample", self.sample), ("query_sample", self.query_sample)):
            _require(rows >= self.least_rows, field, rows, f"at least {self.least_rows}, {self._why_so_many}")

    @property
    def least_rows(self) -> int:
        """Fewest documents, and queries, that can be measured: those that remain without one group have neighbours."""
        rows = self.draws
        while rows - -(-rows // self.draws) <= self._neighbours:
            rows += 1
        return rows

    @property
    def _neighbours(self) -> int:
        return max(2, self.hubness_k, self.mle_neighbours)

    @property
    def _why_so_many(self) -> str:
        return f"so that {self._neighbours} neighbours remain without one of {self.draws} groups"

    def check_rows(self, documents: int, queries: int) -> None:
        """Refuse a cell of fewer documents or queries than can be measured.

        Raises: InvalidInput naming the fields that say how many are needed.
        """
        for side, rows in (("documents", documents), ("queries", queries)):
            if rows < self.least_rows:
                raise InvalidInput(
                    f"geometry: the cell has {rows} {side} and needs {self.least_rows}, {self._why_so_many}: "
                    f"add {side}, or lower geometry.mle_neighbours, hubness_k or draws"
                )


def _require(holds: bool, field: str, value: object, expected: str) -> None:
    if not holds:
        raise InvalidInput(f"geometry.{field} must be {expected}, got {value}")


def measure(
    documents: NDArray[np.floating[Any]], queries: NDArray[np.floating[Any]], settings: GeometrySettings
) -> dict[str, Estimate]:
    """Every measure of ``MEASURES``, in its order, for one cell.

    documents (n, d) and queries (q, d) are float16, float32 or float64, finite, without zero rows; a seeded
    sample of each, all where there are no more, is upcast to float64. Undefined values are NaN. Figures have six
    significant digits, far below the intervals and far above the 1e-12 by which libraries differ between processors:
    equal input and settings give equal results on every machine.

    Raises: InvalidInput if there are too few rows, or if the vectors do not have the stated form.
    """
    document_sample = _sample(documents, "documents", settings.sample, settings.seed, 0)
    query_sample = _sample(queries, "queries", settings.query_sample, settings.seed, 1)
    settings.check_rows(len(document_sample), len(query_sample))
    d = document_sample.shape[1]
    if query_sample.shape[1] != d:
        raise InvalidInput(
            f"queries have {query_sample.shape[1]} dimensions, documents {d}: embed both with one model"
        )
    directions = np.random.RandomState([settings.seed, 2]).standard_normal((settings.projections, d))
    smaller = min(len(document_sample), len(query_sample))
    parts = {
        "documents": (_side(document_sample, directions, settings), len(document_sample)),
        "queries": (_side(query_sample, directions, settings), len(query_sample)),
        "gap": (_gap(document_sample, query_sample, settings), smaller),
    }
    estimates = {}
    for side, (families, size) in parts.items():
        for replicates in families:
            for name, value in replicates.value.items():
                m = MEASURES[f"{side}_{name}"]
                bounds = interval(replicates, name, settings.confidence, m.low, m.high)
                estimates[f"{side}_{name}"] = Estimate(
                    _rounded(value), _rounded(bounds[0]), _rounded(bounds[1]), size
                )
    return {name: estimates[name] for name in MEASURES}


def _rounded(figure: float) -> float:
    return float(f"{figure:.{_DIGITS}g}")


def _sample(vectors: NDArray[np.floating[Any]], side: str, size: int, seed: int, stream: int) -> Array:
    if vectors.ndim != 2 or vectors.shape[1] < 2:
        raise InvalidInput(f"{side} must be (rows, dimensions ≥ 2), got shape {vectors.shape}")
    rows = np.random.RandomState([seed, stream]).permutation(len(vectors))[:size]
    sample = np.asarray(vectors[rows], np.float64)
    bad = ~(np.isfinite(sample).all(axis=1) & sample.any(axis=1))
    if bad.any():
        raise InvalidInput(f"{side} row {rows[bad].min()} is not finite or is all zero: embed it again")
    return sample


def _side(vectors: Array, directions: Array, settings: GeometrySettings) -> Sequence[Replicates]:
    groups = settings.draws
    group = row_groups(len(vectors), groups)
    return (
        moment_replicates(vectors, group, groups, settings.outlier_cut),
        neighbour_replicates(
            vectors,
            group,
            groups,
            hubness_k=settings.hubness_k,
            mle_neighbours=settings.mle_neighbours,
            twonn_discard=settings.twonn_discard,
        ),
        projection_replicates(product(vectors, directions.T), group, groups, settings.margin_near),
        coordinate_replicates(vectors, group, groups, settings.margin_near),
    )


def gap_measures(documents: Moments, queries: Moments) -> dict[str, float]:
    """Measures of the gap from the moments of unit documents and unit queries; NaN where a mean is zero."""
    mean_document, mean_query = documents.mean(), queries.mean()
    mean_cosine = float(np.sum(mean_document * mean_query))
    mean_square = float(np.sum(documents.second * queries.second)) / (documents.count * queries.count)
    lengths = _length(mean_document) * _length(mean_query)
    return {
        "mean_distance": _length(mean_query - mean_document),
        "direction_cosine": mean_cosine / lengths if lengths > 0 else float("nan"),
        "mean_cosine": mean_cosine,
        "angular_spread": float(np.sqrt(max(0.0, mean_square - mean_cosine**2))),
    }


def _length(vector: Array) -> float:
    return float(np.sqrt(np.sum(vector**2)))


def _gap(documents: Array, queries: Array, settings: GeometrySettings) -> Sequence[Replicates]:
    groups = settings.draws
    unit_documents, unit_queries = unit_rows(documents), unit_rows(queries)
    document_group, query_group = row_groups(len(documents), groups), row_groups(len(queries), groups)
    all_documents, all_queries = Moments.of(unit_documents), Moments.of(unit_queries)
    moments = Replicates(
        gap_measures(all_documents, all_queries),
        (
            [
                gap_measures(all_documents.without(unit_documents[document_group == g]), all_queries)
                for g in range(groups)
            ],
            [
                gap_measures(all_documents, all_queries.without(unit_queries[query_group == g]))
                for g in range(groups)
            ],
        ),
    )
    hubs = query_hubness_replicates(
        unit_documents, unit_queries, document_group, query_group, groups, settings.hubness_k
    )
    return moments, hubs
