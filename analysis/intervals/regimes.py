"""Which of two codecs of the same size a cell should use: differences over the whole study, sorted into regimes.

The family is every (cell, bytes per vector) at which both codecs stand in the study. Its differences are tested with
Holm's adjustment, and simultaneous intervals decide the regime. Definitions: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.intervals.bootstrap import Floats
from analysis.intervals.simultaneous import Member, compare_family
from analysis.quality.results import UNDERTRAINED, CellQuality, csv_text, seed_groups
from store.errors import InvalidInput

CLEARLY_WORSE = "clearly worse"
PREFERABLE = "preferable"
COMPETITIVE = "competitive"
UNDECIDED = "undecided"
REGIMES = (CLEARLY_WORSE, PREFERABLE, COMPETITIVE, UNDECIDED)
"""What the first codec is against the second, in the order in which it is checked."""


@dataclass(frozen=True)
class Side:
    """One of the two codecs, as the columns of `Configuration` name it; what is re-ranked is left out.

    An empty ``scoring`` is the codec's own, so asymmetric search is compared only where it is named.
    """

    codec: str
    variant: str = ""
    scoring: str = ""

    @property
    def label(self) -> str:
        """Codec, variant and scoring, as far as they are given: ``sign-mean``."""
        return "-".join(part for part in (self.codec, self.variant, self.scoring) if part)


@dataclass(frozen=True)
class Comparison:
    """One row of the table: the first codec minus the second in one cell, at one size.

    ``first_value`` and ``second_value`` are means over queries of the mean over seeds; ``ci_*`` the interval of this
    difference alone, ``simultaneous_*`` the one that holds together with all others.
    """

    model: str
    dataset: str
    first: str
    second: str
    bits: int
    bytes_per_vector: int
    metric: str
    k: int
    first_value: float
    second_value: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_holm: float
    simultaneous_low: float
    simultaneous_high: float
    regime: str
    n_queries: int
    first_seeds: int
    second_seeds: int
    flags: str


COLUMNS = tuple(column.name for column in fields(Comparison))
"""The columns of the table of regimes."""


def classify(low: Floats, high: Floats, margin: float) -> NDArray[np.str_]:
    """The regime of each interval: the first of `REGIMES` that holds.

    Clearly worse: entirely below −margin. Preferable: entirely above 0. Competitive: entirely within ±margin, limits
    included. Undecided: none of these. Raises InvalidInput for a margin that is not positive.
    """
    if not margin > 0:
        raise InvalidInput(f"margin: expected a difference above 0, got {margin}")
    holds = [high < -margin, low > 0, (low >= -margin) & (high <= margin)]
    return np.select(holds, REGIMES[:-1], REGIMES[-1])


def compare(
    cells: Sequence[CellQuality],
    first: Side,
    second: Side,
    *,
    metric: str,
    k: int,
    margin: float,
    draws: int,
    seed: int,
    confidence: float,
) -> list[Comparison]:
    """The family of two codecs over all cells, one row per (cell, bytes per vector), in the order of the cells.

    Metrics are between 0 and 1. Raises InvalidInput where no cell holds both codecs at one size, where a codec leaves
    open which of several configurations is meant, for a metric or k that a cell lacks, and as `compare_family`.
    """
    found: list[tuple[CellQuality, int, Member]] = []
    for cell in cells:
        at = (_position(cell.metrics, metric, "metric"), _position(cell.ks, k, "k"))
        sides = [_by_size(cell, side) for side in (first, second)]
        for size in sorted(set(sides[0]) & set(sides[1])):
            values = [cell.value[side[size]][:, at[0], at[1]] for side in sides]
            found.append((cell, size, Member(values[0], values[1], cell.dataset, size)))
    if not found:
        raise InvalidInput(
            f"first, second: no cell has {first.label} and {second.label} at the same bytes per vector; "
            "name two codecs of the study that share a size"
        )
    family = compare_family([member for _, _, member in found], draws, seed, confidence)
    simultaneous = family.simultaneous
    regimes = classify(simultaneous.low, simultaneous.high, margin)
    return [
        Comparison(
            model=cell.model,
            dataset=cell.dataset,
            first=first.label,
            second=second.label,
            bits=8 * size,
            bytes_per_vector=size,
            metric=metric,
            k=k,
            first_value=float(member.first.mean(dtype=np.float64)),
            second_value=float(member.second.mean(dtype=np.float64)),
            difference=float(family.difference.mean[i]),
            ci_low=float(family.difference.low[i]),
            ci_high=float(family.difference.high[i]),
            p_value=float(family.difference.p_value[i]),
            p_holm=float(family.p_holm[i]),
            simultaneous_low=float(simultaneous.low[i]),
            simultaneous_high=float(simultaneous.high[i]),
            regime=str(regimes[i]),
            n_queries=member.first.shape[-1],
            first_seeds=member.first.shape[-2],
            second_seeds=member.second.shape[-2],
            flags=UNDERTRAINED if {first.codec, second.codec} & cell.undertrained else "",
        )
        for i, (cell, size, member) in enumerate(found)
    ]


def table_text(rows: Sequence[Comparison]) -> str:
    """The table as CSV."""
    return csv_text([asdict(row) for row in rows], COLUMNS)


def count_regimes(rows: Sequence[Comparison]) -> Mapping[str, int]:
    """How many members of the family are in each regime, every regime named."""
    return {name: sum(row.regime == name for row in rows) for name in REGIMES}


def _by_size(cell: CellQuality, side: Side) -> dict[int, list[int]]:
    """Positions of a codec's configurations, one a seed, by bytes per vector."""
    sizes: dict[int, list[int]] = {}
    for configuration, positions in seed_groups(cell).items():
        same_codec = (configuration.codec, configuration.variant) == (side.codec, side.variant)
        own_scoring = not side.scoring and configuration.scoring != "asymmetric"
        same_scoring = own_scoring or configuration.scoring == side.scoring
        if not (same_codec and same_scoring) or configuration.rescore:
            continue
        if configuration.bytes_per_vector in sizes:
            raise InvalidInput(
                f"{side.label}: {cell.model} × {cell.dataset} has several of "
                f"{configuration.bytes_per_vector} bytes per vector; name the scoring"
            )
        sizes[configuration.bytes_per_vector] = positions
    return sizes


def _position(labels: Sequence[Any], wanted: Any, field: str) -> int:
    if wanted not in labels:
        raise InvalidInput(f"{field}: {wanted} was not measured; choose from {', '.join(map(str, labels))}")
    return list(labels).index(wanted)
