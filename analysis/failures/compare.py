"""Where binary codes collapse: queries that one codec loses and another of the same bytes keeps.

Both directions follow the same rules; lost queries are compared with kept ones, with intervals.
Definitions and what may be concluded: docs/failures.md.

`compare_codecs` takes the truth and the searches of a cell from `analysis.failures.cell`; their dimensions may come in
any order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.failures.cell import NONE, Floats, answers, judgements_of
from analysis.intervals.bootstrap import bootstrap_means
from analysis.quality.figures import UNDERTRAINED
from analysis.quality.per_query import Judgements, gains
from store.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

MARGIN = "margin"
HAMMING_MARGIN = "hamming_margin"
HUBNESS = "displacing_hubness"
DENSITY = "density"
WORDS = "query_words"

COLUMNS = (
    "model",
    "dataset",
    "bits",
    "k",
    "lost_by",
    "kept_by",
    "n_queries",
    "n_lost",
    "n_opposite",
    "n_kept_by_both",
    "covariate",
    "lost_n",
    "lost_mean",
    "kept_n",
    "kept_mean",
    "difference",
    "difference_low",
    "difference_high",
    "auc",
    "auc_low",
    "auc_high",
    "flags",
    "note",
)
"""The columns of ``report/failures.csv``."""

MIN_GROUP = 20
"""Queries that either group needs for an interval: with fewer it is too short (docs/failures.md)."""


def attainable_recall(rows: NDArray[np.int32], judgements: Judgements) -> Floats:
    """Relevant documents among the first k ÷ those that k ranks can hold, mean over seeds; (query,) float64.

    ``rows`` (seed, query, k). This is Recall@k for a query with at most k relevant documents; with more, Recall@k
    cannot reach 1, and a cut on it would always call the query lost.
    """
    attainable = np.minimum(judgements.relevant_counts(), rows.shape[2])
    hits = sum(np.count_nonzero(gains(judgements, one) > 0, axis=1) for one in rows)
    return np.asarray(hits / (attainable * len(rows)))


def displacing(rows: NDArray[np.int32], exact: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the found documents displace an exact neighbour: those not in the exact top k.

    ``rows`` (seed, query, k) and ``exact`` (query, k); returns (seed, query, k) bool.
    """
    outside = np.ones(rows.shape, np.bool_)
    for rank in range(exact.shape[1]):
        outside &= rows != exact[:, rank, None]
    return outside


def k_occurrence(rows: NDArray[np.int32], n_documents: int) -> NDArray[np.int64]:
    """How many queries have each document among their first k, (document,) int64, from rows (query, k).

    Source: Radovanović, Nanopoulos & Ivanović 2010.
    """
    return np.bincount(rows.ravel(), minlength=n_documents).astype(np.int64)


def displacing_hubness(rows: NDArray[np.int32], exact: NDArray[np.int32], n_documents: int) -> Floats:
    """Mean k-occurrence, in the same seed's search, of the documents that displace exact neighbours.

    ``rows`` (seed, query, k); the mean is over all of a query's displacing documents in all seeds, (query,) float64,
    NaN where there are none.
    """
    outside = displacing(rows, exact)
    total = sum(
        (k_occurrence(found, n_documents)[found] * where).sum(axis=1)
        for found, where in zip(rows, outside, strict=True)
    )
    number = outside.sum(axis=(0, 2))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def compare_codecs(
    truth: xr.Dataset, first: xr.Dataset, second: xr.Dataset, cut: float
) -> tuple[xr.Dataset, xr.Dataset]:
    """Queries that ``first`` loses and ``second`` keeps, and the reverse; a query is kept at recall ≥ ``cut``.

    Each result has over (query): ``lost``, that its loser loses and its keeper keeps; ``opposite``, that only its loser
    keeps; ``kept``, that both keep; ``loss``, the recall of the keeper minus that of the loser; ``answer_row``, or
    `NONE`. ``value`` (covariate, query) float64 is NaN where a covariate is not defined. ``found_rows`` (seed, query,
    rank) are the loser's, ``exact_rows`` (query, rank) the exact ones. Raises InvalidInput for found rows of another
    shape than the exact ones.
    """
    import xarray as xr

    exact, scores = (truth[name].transpose("query", "rank").values for name in ("rows", "scores"))
    rows = [found["rows"].transpose("seed", "query", "rank").values for found in (first, second)]
    for found, of_found in zip((first, second), rows, strict=True):
        if of_found.shape[1:] != exact.shape:
            raise InvalidInput(
                f"{found.attrs['codec']} at {found.attrs['bits']} bits: found {of_found.shape[1:]} (queries, ranks), "
                f"the exact search {exact.shape}; search them with the same settings"
            )
    judgements, standing = judgements_of(truth), answers(truth)
    recall = [attainable_recall(of_found, judgements) for of_found in rows]
    keeps = [of_codec >= cut for of_codec in recall]
    answered = standing != NONE
    general = {
        MARGIN: np.where(answered, truth["judged_score"].values[standing] - scores[:, -1], np.nan),
        DENSITY: scores.mean(axis=1),
        WORDS: truth["query_words"].values.astype(np.float64),
    }

    def failures(loser: int) -> xr.Dataset:
        found, keeper = (first, second)[loser], (first, second)[1 - loser]
        n_documents = truth.attrs["n_documents"]
        own = {HUBNESS: displacing_hubness(rows[loser], exact, n_documents)}
        if "judged_distance" in found:
            own[HAMMING_MARGIN] = _hamming_margin(
                standing,
                found["judged_distance"].transpose("seed", "judgement").values,
                found["kth_distance"].transpose("seed", "query").values,
                found.attrs["bits"],
            )
        covariates = dict(sorted({**general, **own}.items()))
        return xr.Dataset(
            {
                "lost": ("query", ~keeps[loser] & keeps[1 - loser]),
                "opposite": ("query", keeps[loser] & ~keeps[1 - loser]),
                "kept": ("query", keeps[0] & keeps[1]),
                "loss": ("query", recall[1 - loser] - recall[loser]),
                "answer_row": ("query", np.where(answered, truth["judged_document"].values[standing], NONE)),
                "value": (("covariate", "query"), np.stack(list(covariates.values()))),
                "found_rows": (("seed", "query", "rank"), rows[loser]),
                "exact_rows": (("query", "rank"), exact),
            },
            coords={"covariate": list(covariates)},
            attrs={
                "model": truth.attrs["model"],
                "dataset": truth.attrs["dataset"],
                "n_documents": n_documents,
                "bits": found.attrs["bits"],
                "k": exact.shape[1],
                "lost_by": found.attrs["codec"],
                "kept_by": keeper.attrs["codec"],
                "undertrained": found.attrs["undertrained"] or keeper.attrs["undertrained"],
            },
        )

    return failures(0), failures(1)


def table(failures: Sequence[xr.Dataset], *, draws: int, seed: int, confidence: float) -> pd.DataFrame:
    """The rows of ``report/failures.csv``: one per comparison and covariate, in the given order."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for found in failures:
        lost, kept = found["lost"].values, found["kept"].values
        shared = {
            **{name: found.attrs[name] for name in ("model", "dataset", "bits", "k", "lost_by", "kept_by")},
            "n_queries": len(lost),
            "n_lost": int(lost.sum()),
            "n_opposite": int(found["opposite"].sum()),
            "n_kept_by_both": int(kept.sum()),
            "flags": UNDERTRAINED if found.attrs["undertrained"] else "",
        }
        names = found["covariate"].values.tolist()
        covariates = dict(zip(names, found["value"].transpose("covariate", "query").values, strict=True))
        # Covariates with values for the same queries are resampled together.
        alike: dict[bytes, list[str]] = defaultdict(list)
        for name, values in covariates.items():
            alike[np.isnan(values).tobytes()].append(name)
        compared: dict[str, dict[str, Any]] = {}
        for together in alike.values():
            values = np.stack([covariates[name] for name in together])
            defined = ~np.isnan(values[0])
            groups = (values[:, lost & defined], values[:, kept & defined])
            figures = compare_groups(*groups, draws=draws, seed=seed, confidence=confidence)
            compared |= dict(zip(together, figures, strict=True))
        rows += [{**shared, "covariate": name, **compared[name]} for name in names]
    return pd.DataFrame(rows, columns=COLUMNS)


def compare_groups(
    lost: Floats, kept: Floats, *, draws: int, seed: int, confidence: float
) -> list[dict[str, Any]]:
    """Means, their difference and the AUC of two groups of queries, with intervals, for each covariate.

    ``lost`` and ``kept`` are (covariate, query). The interval of the difference is a percentile bootstrap in which
    each group is resampled separately, at its own size. Figures that cannot be computed are NaN, and ``note`` says why.
    """
    sizes = (lost.shape[1], kept.shape[1])
    limits = np.full((2, len(lost)), np.nan)
    note = ""
    if min(sizes) == 0:
        note = f"no {'kept' if sizes[0] else 'lost'} query with a value"
    elif min(sizes) < MIN_GROUP:
        note = f"no interval for groups of fewer than {MIN_GROUP}"
    else:
        # Two seeds, because the groups are drawn independently of each other.
        means = bootstrap_means(lost, draws, seed) - bootstrap_means(kept, draws, seed + 1)
        limits = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1)
    results = []
    for a, b, low, high in zip(lost, kept, *limits, strict=True):
        auc_low, auc_high = (np.nan, np.nan) if note else auc_interval(a, b, confidence)
        without = "no interval for the AUC of values that separate the groups or are all equal"
        results.append(
            {
                "lost_n": sizes[0],
                "lost_mean": _mean(a),
                "kept_n": sizes[1],
                "kept_mean": _mean(b),
                "difference": _mean(a) - _mean(b),
                "difference_low": low,
                "difference_high": high,
                "auc": auc(a, b),
                "auc_low": auc_low,
                "auc_high": auc_high,
                "note": without if not note and np.isnan(auc_low) else note,
            }
        )
    return results


def auc(lost: Floats, kept: Floats) -> float:
    """P(value of a lost query > value of a kept one), equal values counting half; NaN for an empty group.

    This is U of the lost group (Mann & Whitney 1947) ÷ (number lost · number kept).
    """
    if not len(lost) or not len(kept):
        return float("nan")
    return float(_doubled_wins(lost, kept).sum() / (2 * len(lost) * len(kept)))


def auc_interval(lost: Floats, kept: Floats, confidence: float) -> tuple[float, float]:
    """Interval of `auc`: variance by DeLong, DeLong & Clarke-Pearson 1988, normal on the scale of the logit.

    NaN where that variance is 0: values that separate the groups, or that are all equal, say nothing about it. Raises
    InvalidInput for a group of fewer than 2.
    """
    if min(len(lost), len(kept)) < 2:
        raise InvalidInput(
            f"lost, kept: an interval needs 2 queries on either side, got {len(lost)}, {len(kept)}"
        )
    # Whole numbers, so that the variance of equal ones is 0 and not a rounding error.
    of_lost, of_kept = _doubled_wins(lost, kept), _doubled_wins(kept, lost)
    variance = float(of_lost.var(ddof=1)) / (4 * len(kept) ** 2 * len(lost)) + float(of_kept.var(ddof=1)) / (
        4 * len(lost) ** 2 * len(kept)
    )
    if variance == 0:
        return float("nan"), float("nan")
    value = auc(lost, kept)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance) / (value * (1 - value))
    odds = value / (1 - value)
    return odds / (odds + math.exp(half)), odds / (odds + math.exp(-half))


def _doubled_wins(group: Floats, other: Floats) -> NDArray[np.int64]:
    """Twice the number of values of ``other`` below each value of ``group``, equal ones counting half."""
    ordered = np.sort(other)
    doubled = np.searchsorted(ordered, group, "left") + np.searchsorted(ordered, group, "right")
    return np.asarray(doubled, np.int64)


def _mean(values: Floats) -> float:
    return math.fsum(values) / len(values) if len(values) else float("nan")


def _hamming_margin(
    standing: NDArray[np.int64],
    judged_distance: NDArray[np.int32],
    kth_distance: NDArray[np.int64],
    bits: int,
) -> Floats:
    """(Distance at rank k − distance of the answer) ÷ bits, mean over seeds, (query,); NaN without an answer."""
    difference = kth_distance.astype(np.int64) - judged_distance[:, standing]
    return np.where(standing == NONE, np.nan, difference.sum(axis=0) / (bits * len(difference)))
