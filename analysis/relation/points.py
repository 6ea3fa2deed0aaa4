"""The points that geometry and quality are related over, and the rows that come out.

One point is a (cell, bits) pair. `Points` takes plain columns in any order; `PointGrid` holds the same
numbers as (cells, bits) arrays, sorted by label, so no result depends on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

LOG2_BITS = "log2_bits"
SLOPE_PREFIX = "slope"
WEIGHT_FAMILIES = ("rademacher", "webb")
# Below these a permutation has nothing to exchange and a left-out group leaves nothing to learn from.
LEAST = {"cells": 3, "models": 2, "datasets": 2}


@dataclass(frozen=True)
class Points:
    """One row per (cell, bits): labels (n,), bits (n,), and named float columns (n,) of features and targets.

    `sources` says which measured quantity a feature or a target was computed from (for example
    ``{"slope_recall": "recall@10", "retention@10": "recall@10"}``). A feature never predicts a target of the
    same source. Every feature whose name starts with "slope" needs an entry, and then so does every target.
    The predictor `log2_bits` is derived from `bits` and need not be given.

    Raises InvalidInput for columns of unequal length, a (cell, bits) pair that is missing or doubled, a name
    used twice, or a slope whose source is not named. Values that were not measured are NaN.
    """

    model: NDArray[np.str_]
    dataset: NDArray[np.str_]
    bits: NDArray[np.int64]
    features: Mapping[str, NDArray[np.float64]]
    targets: Mapping[str, NDArray[np.float64]]
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.model)
        if n == 0:
            raise InvalidInput("points: the table has no rows; give at least one (cell, bits) point")
        if not self.targets:
            raise InvalidInput("targets: none given; name at least one measure of quality")
        columns = {"dataset": self.dataset, "bits": self.bits}
        columns |= {f"features.{name}": values for name, values in self.features.items()}
        columns |= {f"targets.{name}": values for name, values in self.targets.items()}
        for name, values in columns.items():
            if np.shape(values) != (n,):
                raise InvalidInput(f"{name}: shape {np.shape(values)}, expected ({n},) as for model")
        if np.min(self.bits) < 1:
            raise InvalidInput(f"bits: {np.min(self.bits)} is not a code length; give positive integers")
        both = {*self.features, LOG2_BITS} & set(self.targets)
        if both:
            raise InvalidInput(f"targets: {min(both)!r} is also a feature; rename one of them")
        if LOG2_BITS in self.features and not np.allclose(self.features[LOG2_BITS], np.log2(self.bits)):
            raise InvalidInput(
                f"features.{LOG2_BITS}: differs from log2 of bits; leave it out, it is derived"
            )
        self._check_grid()
        self._check_sources()

    def _check_grid(self) -> None:
        seen: set[tuple[str, str, int]] = set()
        for point in zip(map(str, self.model), map(str, self.dataset), map(int, self.bits), strict=True):
            if point in seen:
                raise InvalidInput(
                    f"points: {point[0]}/{point[1]} has two points at {point[2]} bits; keep one"
                )
            seen.add(point)
        for model, dataset in sorted({point[:2] for point in seen}):
            for bits in np.unique(self.bits):
                if (model, dataset, int(bits)) not in seen:
                    raise InvalidInput(
                        f"points: {model}/{dataset} has no point at {bits} bits; give all cells the same bits"
                    )

    def _check_sources(self) -> None:
        unknown = set(self.sources) - set(self.features) - set(self.targets)
        if unknown:
            raise InvalidInput(f"sources: {min(unknown)!r} is neither feature nor target; rename it")
        slopes = [name for name in self.features if name.startswith(SLOPE_PREFIX)]
        for name in [*slopes, *(self.targets if slopes else ())]:
            if name not in self.sources:
                raise InvalidInput(
                    f"sources: {name!r} has no entry; name the measure it is computed from, "
                    "so that no slope predicts its own measure"
                )


@dataclass(frozen=True)
class RelationSettings:
    """Choices of the relation analysis; all come from `params.yaml`.

    permutations: most relabelings looked at per test; all of them are enumerated when there are no more than
    this. bootstrap_draws: wild-bootstrap draws where the weight vectors are too many to enumerate.
    bootstrap_weights: "rademacher" or "webb". penalties: positive, shared by ridge and lasso, per point and
    per standardised unit. confidence: of every interval, in (0, 1). Raises InvalidInput on anything else.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # a misspelt key is refused

    permutations: int
    bootstrap_draws: int
    bootstrap_weights: str
    seed: int
    penalties: tuple[float, ...]
    confidence: float

    def __post_init__(self) -> None:
        for name in ("permutations", "bootstrap_draws"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: {getattr(self, name)} is too few; give at least 1")
        if self.bootstrap_weights not in WEIGHT_FAMILIES:
            known = " or ".join(WEIGHT_FAMILIES)
            raise InvalidInput(f"bootstrap_weights: {self.bootstrap_weights!r} is unknown; give {known}")
        if not 0 <= self.seed < 2**32:
            raise InvalidInput(f"seed: {self.seed} is outside 0 to 2**32 - 1")
        if not self.penalties or not all(0 < p < np.inf for p in self.penalties):
            raise InvalidInput(f"penalties: {self.penalties} must be one or more positive numbers")
        if not 0 < self.confidence < 1:
            raise InvalidInput(f"confidence: {self.confidence} must lie between 0 and 1, for example 0.95")


@dataclass(frozen=True)
class Row:
    """One figure of the relation with the counts it rests on; NaN and a note where it could not be had."""

    analysis: str
    target: str
    feature: str
    bits: int | str
    statistic: str
    value: float
    ci_low: float
    ci_high: float
    p_value: float
    p_holm: float
    n_points: int
    n_cells: int
    n_models: int
    n_datasets: int
    note: str

    def as_dict(self) -> dict[str, float | int | str]:
        """The row as a plain dictionary, columns in order."""
        return asdict(self)


@dataclass(frozen=True)
class PointGrid:
    """Points as (cells, bits) arrays: cells sorted by (model, dataset), bits ascending."""

    cells: tuple[tuple[str, str], ...]
    bits: NDArray[np.int64]
    features: Mapping[str, NDArray[np.float64]]
    targets: Mapping[str, NDArray[np.float64]]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, points: Points) -> PointGrid:
        """Sort the points into the grid and add `log2_bits`."""
        order = np.lexsort((points.bits, points.dataset, points.model))
        bits = np.unique(points.bits)
        shape = (-1, len(bits))
        features = {**points.features, LOG2_BITS: np.log2(points.bits)}
        models, datasets = np.asarray(points.model)[order], np.asarray(points.dataset)[order]
        cells = zip(models[:: len(bits)].tolist(), datasets[:: len(bits)].tolist(), strict=True)
        return cls(
            cells=tuple(cells),
            bits=bits,
            features={k: np.asarray(v, np.float64)[order].reshape(shape) for k, v in features.items()},
            targets={k: np.asarray(v, np.float64)[order].reshape(shape) for k, v in points.targets.items()},
            sources=dict(points.sources),
        )

    @cached_property
    def models(self) -> NDArray[np.int64]:
        """(cells,) number of each cell's model."""
        return np.unique([model for model, _ in self.cells], return_inverse=True)[1]

    @cached_property
    def datasets(self) -> NDArray[np.int64]:
        """(cells,) number of each cell's dataset."""
        return np.unique([dataset for _, dataset in self.cells], return_inverse=True)[1]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many cells, models and datasets there are."""
        return {
            "cells": len(self.cells),
            "models": len(set(self.models.tolist())),
            "datasets": len(set(self.datasets.tolist())),
        }

    def too_small(self) -> str:
        """Why this study cannot be analysed at all, or ""."""
        return "; ".join(
            f"not enough {what}: {self.counts[what]}, needs {least}"
            for what, least in LEAST.items()
            if self.counts[what] < least
        )

    def own(self, feature: str, target: str) -> bool:
        """Whether both were computed from one measured quantity, so that one may not predict the other."""
        return feature in self.sources and self.sources[feature] == self.sources.get(target)


def defect(name: str, values: NDArray[np.float64]) -> str:
    """Why the column `values`, of any shape, cannot be analysed ("<name> is constant"), or ""."""
    missing = int(np.count_nonzero(~np.isfinite(values)))
    if missing:
        return f"{name} is not finite at {missing} of {values.size} points"
    # Rounding alone must not pass for variation: standardising would blow it up to full size.
    if np.ptp(values) <= 1e-12 * np.max(np.abs(values)):
        return f"{name} is constant"
    return ""
