"""The points that geometry and quality are related over, and the rows that come out.

Points are an ``xr.Dataset`` over (cell, bits) with ``model`` and ``dataset`` as coordinates of ``cell``. Each variable
has in its attributes a ``role``, feature or target, and may name as ``source`` the measured quantity that it was
computed from (``recall@10`` for its slope and its retention): a feature never predicts a target of the same source.
A variable without the dimension ``bits`` is the same at every length; a value that was not measured is NaN. The
predictor `LOG2_BITS` is derived and need not be given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

if TYPE_CHECKING:
    import xarray as xr

LOG2_BITS = "log2_bits"
SLOPE_PREFIX = "slope"
WEIGHT_FAMILIES = ("rademacher", "webb")
# Below these a permutation has nothing to exchange and a left-out group leaves nothing to learn from.
LEAST = {"cells": 3, "models": 2, "datasets": 2}
ROLES = {"feature": "features", "target": "targets"}


@dataclass(frozen=True)
class RelationSettings:
    """Choices of the relation analysis; all come from `params.yaml`.

    permutations: most relabelings used per test; all of them are enumerated when there are no more than
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
    """One figure of the relation with the counts it rests on; NaN and a note if it cannot be computed."""

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


@dataclass(frozen=True)
class PointGrid:
    """Points as (cells, bits) arrays: cells sorted by (model, dataset), bits ascending."""

    cells: tuple[tuple[str, str], ...]
    bits: NDArray[np.int64]
    features: Mapping[str, NDArray[np.float64]]
    targets: Mapping[str, NDArray[np.float64]]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, points: xr.Dataset) -> PointGrid:
        """Check the points, sort them into the grid and add `LOG2_BITS`.

        Raises InvalidInput for a point that is doubled, for variables without a role or with other dimensions, and for
        slopes whose source is not named; every feature whose name starts with "slope" needs one, and then so does every
        target.
        """
        if not points.sizes.get("cell") or not points.sizes.get("bits"):
            raise InvalidInput("points: the table has no rows; give at least one (cell, bits) point")
        bits = points["bits"].values.astype(np.int64)
        if bits.min() < 1:
            raise InvalidInput(f"bits: {bits.min()} is not a code length; give positive integers")
        labels = list(zip(points["model"].values.tolist(), points["dataset"].values.tolist(), strict=True))
        order = sorted(range(len(labels)), key=lambda i: labels[i])
        cells = tuple(labels[i] for i in order)
        _check_unique(cells, bits)
        shape = (len(cells), len(bits))
        by_bits = np.argsort(bits, kind="stable")
        columns: dict[str, dict[str, NDArray[np.float64]]] = {role: {} for role in ROLES}
        sources: dict[str, str] = {}
        for label, variable in points.data_vars.items():
            name, role = str(label), variable.attrs.get("role")
            if role not in ROLES:
                raise InvalidInput(f"{name}: role is {role!r}; give feature or target in its attributes")
            if not set(variable.dims) <= {"cell", "bits"}:
                raise InvalidInput(
                    f"{ROLES[role]}.{name}: dimensions {variable.dims}, expected some of ('cell', 'bits')"
                )
            whole = variable.expand_dims([d for d in ("cell", "bits") if d not in variable.dims])
            values = np.broadcast_to(whole.transpose("cell", "bits").values, shape)
            columns[role][name] = np.asarray(values, np.float64)[order][:, by_bits]
            if "source" in variable.attrs:
                sources[name] = variable.attrs["source"]
        features, targets = columns["feature"], columns["target"]
        bits = bits[by_bits]
        _check_columns(features, targets, sources, bits)
        features[LOG2_BITS] = np.broadcast_to(np.log2(bits), shape)
        return cls(cells=cells, bits=bits, features=features, targets=targets, sources=sources)

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


def _check_unique(cells: tuple[tuple[str, str], ...], bits: NDArray[np.int64]) -> None:
    """Every (cell, bits) point is there once."""
    (model, dataset), at_cell = Counter(cells).most_common(1)[0]
    length, at_bits = Counter(bits.tolist()).most_common(1)[0]
    if max(at_cell, at_bits) > 1:
        raise InvalidInput(f"points: {model}/{dataset} has two points at {length} bits; keep one")


def _check_columns(
    features: Mapping[str, NDArray[np.float64]],
    targets: Mapping[str, NDArray[np.float64]],
    sources: Mapping[str, str],
    bits: NDArray[np.int64],
) -> None:
    if not targets:
        raise InvalidInput("targets: none given; name at least one measure of quality")
    if LOG2_BITS in targets:
        raise InvalidInput(f"targets: {LOG2_BITS!r} is also a feature; rename one of them")
    if LOG2_BITS in features and not np.allclose(features[LOG2_BITS], np.log2(bits)):
        raise InvalidInput(f"features.{LOG2_BITS}: differs from log2 of bits; leave it out, it is derived")
    slopes = [name for name in features if name.startswith(SLOPE_PREFIX)]
    for name in [*slopes, *(targets if slopes else ())]:
        if name not in sources:
            raise InvalidInput(
                f"sources: {name!r} has no entry; name the measure it is computed from, "
                "so that no slope predicts its own measure"
            )


def defect(name: str, values: NDArray[np.float64]) -> str:
    """Why the column `values`, of any shape, cannot be analysed ("<name> is constant"), or ""."""
    missing = int(np.count_nonzero(~np.isfinite(values)))
    if missing:
        return f"{name} is not finite at {missing} of {values.size} points"
    # Rounding alone must not count as variation: standardising would scale it up to full size.
    if np.ptp(values) <= 1e-12 * np.max(np.abs(values)):
        return f"{name} is constant"
    return ""
