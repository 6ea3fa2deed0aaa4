"""From the cube and the geometry of a study to the points that E8 relates: one per (cell, bits)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.relation.relate import Points
from store.errors import InvalidInput

Cell = tuple[str, str]


def assemble(
    geometry: Mapping[Cell, Mapping[str, float]],
    values: Mapping[str, Mapping[Cell, NDArray[np.float64]]],
    float_recall: Mapping[Cell, float],
    bits: Sequence[int],
    k: int,
) -> Points:
    """Points of a binary codec.

    ``geometry`` holds the measures of each cell; ``values["recall"]`` and ``values["overlap"]`` the codec's metric at
    ``k``, (bits,) per cell; ``float_recall`` Recall@k of the exact search. Targets are Recall, its retention (binary ÷
    float) and Overlap. The slope of a metric against log2 bits is a feature of the cell; it never predicts a target
    that was computed from the same metric.
    """
    cells = sorted(geometry)
    if not cells:
        raise InvalidInput("correlate: the study has no cells; name models and datasets in params.yaml")
    features: dict[str, NDArray[np.float64]] = {
        name: _repeat([geometry[cell][name] for cell in cells], bits) for name in geometry[cells[0]]
    }
    targets: dict[str, NDArray[np.float64]] = {}
    sources: dict[str, str] = {}
    for metric, per_cell in values.items():
        source = f"{metric}@{k}"
        targets[source] = np.concatenate([per_cell[cell] for cell in cells])
        sources[source] = source
        if len(bits) > 1:
            name = f"slope_{metric}"
            slopes = [float(np.polyfit(np.log2(bits), per_cell[cell], 1)[0]) for cell in cells]
            features[name] = _repeat(slopes, bits)
            sources[name] = source
    retention = f"retention@{k}"
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = targets[f"recall@{k}"] / _repeat([float_recall[cell] for cell in cells], bits)
    # Without a relevant document found by floats there is nothing to retain.
    targets[retention] = np.where(np.isfinite(ratio), ratio, np.nan)
    sources[retention] = f"recall@{k}"
    return Points(
        model=np.repeat([model for model, _ in cells], len(bits)),
        dataset=np.repeat([dataset for _, dataset in cells], len(bits)),
        bits=np.tile(np.asarray(bits, np.int64), len(cells)),
        features=features,
        targets=targets,
        sources=sources,
    )


def _repeat(values: Sequence[float], bits: Sequence[int]) -> NDArray[np.float64]:
    return np.repeat(np.asarray(values, np.float64), len(bits))
