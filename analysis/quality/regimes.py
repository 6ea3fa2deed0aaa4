"""Which of two codecs of the same size a cell should use: differences over the whole study, sorted into regimes.

The family is every (cell, bytes per vector) of the study that has both codecs. Its differences are tested with
Holm's adjustment, and simultaneous intervals decide the regime. Definitions: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.intervals.bootstrap import Floats
from analysis.intervals.simultaneous import Member, compare_family
from analysis.quality.figures import UNDERTRAINED, cell_name, seed_groups, select
from store.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CLEARLY_WORSE = "clearly worse"
PREFERABLE = "preferable"
COMPETITIVE = "competitive"
UNDECIDED = "undecided"
REGIMES = (CLEARLY_WORSE, PREFERABLE, COMPETITIVE, UNDECIDED)
"""What the first codec is compared with the second, in the order of the checks."""


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


COLUMNS = (
    "model",
    "dataset",
    "first",
    "second",
    "bits",
    "bytes_per_vector",
    "metric",
    "k",
    "first_value",
    "second_value",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "simultaneous_low",
    "simultaneous_high",
    "regime",
    "n_queries",
    "first_seeds",
    "second_seeds",
    "flags",
)
"""The columns of ``report/regimes.csv``, one row per cell and size: the first codec minus the second.

``first_value`` and ``second_value`` are means over queries of the mean over seeds; ``ci_*`` the interval of this
difference alone, ``simultaneous_*`` the one that holds together with all others.
"""


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
    cells: Sequence[xr.Dataset],
    first: Side,
    second: Side,
    *,
    metric: str,
    k: int,
    margin: float,
    draws: int,
    seed: int,
    confidence: float,
) -> pd.DataFrame:
    """The family of two codecs over all cells, one row per (cell, bytes per vector), in the order of the cells.

    ``cells`` are quality per query as `analysis.quality.figures` describes it; metrics are between 0 and 1. Each
    dataset has draws of its own, numbered in the order in which the cells name them. Raises InvalidInput where no cell
    holds both codecs at one size, where a codec leaves open which of several configurations is meant, for a metric or k
    that a cell lacks, and as `compare_family`.
    """
    import pandas as pd

    found: list[tuple[xr.Dataset, int, Member]] = []
    for cell in cells:
        values = select(cell, metric, k)["value"].transpose("configuration", "query").values
        sides = [_by_size(cell, side) for side in (first, second)]
        for size in sorted(set(sides[0]) & set(sides[1])):
            member = Member(values[sides[0][size]], values[sides[1][size]], cell.attrs["dataset"], size)
            found.append((cell, size, member))
    if not found:
        raise InvalidInput(
            f"first, second: no cell has {first.label} and {second.label} at the same bytes per vector; "
            "name two codecs of the study that share a size"
        )
    family = compare_family([member for _, _, member in found], draws, seed, confidence)
    simultaneous = family.simultaneous
    rows = [
        {
            "model": cell.attrs["model"],
            "dataset": cell.attrs["dataset"],
            "bits": 8 * size,
            "bytes_per_vector": size,
            "first_value": member.first.mean(dtype=np.float64),
            "second_value": member.second.mean(dtype=np.float64),
            "n_queries": member.first.shape[-1],
            "first_seeds": member.first.shape[-2],
            "second_seeds": member.second.shape[-2],
            "flags": UNDERTRAINED if {first.codec, second.codec} & set(cell.attrs["undertrained"]) else "",
        }
        for cell, size, member in found
    ]
    return pd.DataFrame(rows).assign(
        first=first.label,
        second=second.label,
        metric=metric,
        k=k,
        difference=family.difference.mean,
        ci_low=family.difference.low,
        ci_high=family.difference.high,
        p_value=family.difference.p_value,
        p_holm=family.p_holm,
        simultaneous_low=simultaneous.low,
        simultaneous_high=simultaneous.high,
        regime=classify(simultaneous.low, simultaneous.high, margin),
    )[list(COLUMNS)]


def count_regimes(rows: pd.DataFrame) -> Mapping[str, int]:
    """How many members of the family are in each regime, every regime named."""
    return {name: int((rows["regime"] == name).sum()) for name in REGIMES}


def _by_size(cell: xr.Dataset, side: Side) -> dict[int, NDArray[np.intp]]:
    """Positions of a codec's configurations, one a seed, by bytes per vector."""
    sizes: dict[int, NDArray[np.intp]] = {}
    for positions in seed_groups(cell):
        one = {name: cell[name].values[positions[0]] for name in _TOLD_APART}
        same_codec = (one["codec"], one["variant"]) == (side.codec, side.variant)
        own_scoring = not side.scoring and one["scoring"] != "asymmetric"
        same_scoring = own_scoring or one["scoring"] == side.scoring
        if not (same_codec and same_scoring) or one["rescore"]:
            continue
        size = int(one["bytes_per_vector"])
        if size in sizes:
            raise InvalidInput(
                f"{side.label}: {cell_name(cell)} has several of {size} bytes per vector; name the scoring"
            )
        sizes[size] = positions
    return sizes


_TOLD_APART = ("codec", "variant", "scoring", "rescore", "bytes_per_vector")
