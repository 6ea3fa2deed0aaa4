"""Where binary codes collapse: queries that one codec loses and another of the same bytes keeps.

Both directions are treated alike, and what sets the lost queries apart is compared with an interval.
Definitions and what may be concluded: docs/failures.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.intervals.bootstrap import bootstrap_means
from analysis.quality.per_query import Judgements, gains
from analysis.quality.results import UNDERTRAINED
from store.errors import InvalidInput

Floats = NDArray[np.float64]

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

NONE = -1
"""Stands for the answer of a query none of whose relevant documents may be found."""

_PAIRS = 1 << 12  # pairs scored at a time


@dataclass(frozen=True, eq=False)
class Truth:
    """A cell as exact search and its judges see it.

    ``judged_score`` (judgement,) float64 is the exact inner product of each judged pair; ``self_row`` (query,) int32
    the document left out of a query's search, or -1. ``rows`` and ``scores`` (query, k) are the exact neighbours;
    ``query_words`` (query,) int64 counts words; ``n_documents`` are searched.
    """

    model: str
    dataset: str
    judgements: Judgements
    judged_score: Floats
    self_row: NDArray[np.int32]
    rows: NDArray[np.int32]
    scores: Floats
    query_words: NDArray[np.int64]
    n_documents: int

    @property
    def k(self) -> int:
        """Ranks that are looked at."""
        return int(self.rows.shape[1])

    def answers(self) -> NDArray[np.int64]:
        """The judgement that stands for each query, (query,) int64: its relevant document of the best exact score.

        Among equal scores that of the smaller row; `NONE` where the only relevant document is the query itself.
        """
        judged = self.judgements
        usable = np.flatnonzero((judged.relevance > 0) & (judged.document != self.self_row[judged.query]))
        order = usable[np.lexsort((-self.judged_score[usable], judged.query[usable]))]
        query, first = np.unique(judged.query[order], return_index=True)
        answers = np.full(judged.n_queries, NONE, np.int64)
        answers[query] = order[first]
        return answers


@dataclass(frozen=True, eq=False)
class Found:
    """What a codec found in a cell at one size: ``rows`` (seed, query, k) int32.

    For a Hamming search also ``kth_distance`` (seed, query), the distance at rank k, and ``judged_distance`` (seed,
    judgement), both in bits.
    """

    codec: str
    rows: NDArray[np.int32]
    kth_distance: NDArray[np.int32] | None = None
    judged_distance: NDArray[np.int32] | None = None
    undertrained: bool = False


@dataclass(frozen=True, eq=False)
class Failures:
    """Queries of a cell that ``loser`` loses and ``keeper``, a code of the same ``bits``, keeps.

    ``lost`` are these, ``opposite`` those that only ``loser`` keeps, ``kept`` those that both keep; all (query,) bool.
    ``loss`` (query,) is the recall of ``keeper`` minus that of ``loser``; ``covariates`` are (query,) float64 with NaN
    where one is not defined.
    """

    truth: Truth
    bits: int
    loser: Found
    keeper: Found
    lost: NDArray[np.bool_]
    opposite: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    loss: Floats
    covariates: Mapping[str, Floats]


def judged_scores(
    queries: NDArray[np.float16],
    blocks: Iterable[tuple[int, NDArray[np.float16]]],
    judgements: Judgements,
) -> Floats:
    """Inner product of each judged pair, (judgement,) float64, from the stored vectors.

    ``blocks`` are consecutive documents as (first row, (rows, dimension)). For normalised float16 vectors these
    are the exact inner products, whatever the order of summation, and so the scores of the exact search (see
    `store.search.inner_product`).
    """
    scores = np.full(len(judgements.document), np.nan)
    for first, block in blocks:
        inside = np.flatnonzero((judgements.document >= first) & (judgements.document < first + len(block)))
        for at in range(0, len(inside), _PAIRS):
            pairs = inside[at : at + _PAIRS]
            scores[pairs] = np.vecdot(
                queries[judgements.query[pairs]].astype(np.float64),
                block[judgements.document[pairs] - first].astype(np.float64),
            )
    if np.isnan(scores).any():
        raise InvalidInput(
            f"judgements: document row {judgements.document[np.isnan(scores)][0]} has no vector; "
            "embed the corpus that the judgements belong to"
        )
    return scores


def attainable_recall(rows: NDArray[np.int32], judgements: Judgements) -> Floats:
    """Relevant documents among the first k ÷ those that k ranks can hold, mean over seeds; (query,) float64.

    ``rows`` (seed, query, k). This is Recall@k wherever a query has at most k relevant documents; with more, Recall@k
    cannot reach 1 and a cut on it would call the query lost whatever was found.
    """
    attainable = np.minimum(judgements.relevant_counts(), rows.shape[2])
    hits = sum(np.count_nonzero(gains(judgements, one) > 0, axis=1) for one in rows)
    return np.asarray(hits / (attainable * len(rows)))


def displacing(rows: NDArray[np.int32], exact: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the found documents stand where an exact neighbour should: not in the exact top k.

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
    truth: Truth, bits: int, first: Found, second: Found, cut: float
) -> tuple[Failures, Failures]:
    """Queries that ``first`` loses and ``second`` keeps, and the reverse; a query is kept at recall ≥ ``cut``.

    Raises InvalidInput for found rows of another shape than the exact ones.
    """
    for found in (first, second):
        if found.rows.shape[1:] != truth.rows.shape:
            raise InvalidInput(
                f"{found.codec} at {bits} bits: found {found.rows.shape[1:]} (queries, ranks), "
                f"the exact search {truth.rows.shape}; search them with the same settings"
            )
    recall = [attainable_recall(found.rows, truth.judgements) for found in (first, second)]
    keeps = [of_codec >= cut for of_codec in recall]
    general = {
        MARGIN: _margin(truth),
        DENSITY: truth.scores.mean(axis=1),
        WORDS: truth.query_words.astype(np.float64),
    }

    def failures(loser: int) -> Failures:
        found, keeper = (first, second)[loser], (first, second)[1 - loser]
        own = {HUBNESS: displacing_hubness(found.rows, truth.rows, truth.n_documents)}
        if found.judged_distance is not None and found.kth_distance is not None:
            own[HAMMING_MARGIN] = _hamming_margin(
                truth.answers(), found.judged_distance, found.kth_distance, bits
            )
        return Failures(
            truth=truth,
            bits=bits,
            loser=found,
            keeper=keeper,
            lost=~keeps[loser] & keeps[1 - loser],
            opposite=keeps[loser] & ~keeps[1 - loser],
            kept=keeps[0] & keeps[1],
            loss=recall[1 - loser] - recall[loser],
            covariates=dict(sorted({**general, **own}.items())),
        )

    return failures(0), failures(1)


def table(failures: Sequence[Failures], *, draws: int, seed: int, confidence: float) -> list[dict[str, Any]]:
    """Rows of ``report/failures.csv``: one per comparison and covariate, in the given order."""
    rows = []
    for found in failures:
        undertrained = found.loser.undertrained or found.keeper.undertrained
        shared = {
            "model": found.truth.model,
            "dataset": found.truth.dataset,
            "bits": found.bits,
            "k": found.truth.k,
            "lost_by": found.loser.codec,
            "kept_by": found.keeper.codec,
            "n_queries": len(found.lost),
            "n_lost": int(found.lost.sum()),
            "n_opposite": int(found.opposite.sum()),
            "n_kept_by_both": int(found.kept.sum()),
            "flags": UNDERTRAINED if undertrained else "",
        }
        # Covariates with values for the same queries are resampled together.
        alike: dict[bytes, list[str]] = defaultdict(list)
        for name, values in found.covariates.items():
            alike[np.isnan(values).tobytes()].append(name)
        compared: dict[str, dict[str, Any]] = {}
        for names in alike.values():
            values = np.stack([found.covariates[name] for name in names])
            defined = ~np.isnan(values[0])
            groups = (values[:, found.lost & defined], values[:, found.kept & defined])
            figures = compare_groups(*groups, draws=draws, seed=seed, confidence=confidence)
            compared |= dict(zip(names, figures, strict=True))
        rows += [{**shared, "covariate": name, **compared[name]} for name in found.covariates]
    return rows


def compare_groups(
    lost: Floats, kept: Floats, *, draws: int, seed: int, confidence: float
) -> list[dict[str, Any]]:
    """Means, their difference and the AUC of two groups of queries, with intervals, for each covariate.

    ``lost`` and ``kept`` are (covariate, query). The interval of the difference is a percentile bootstrap in which
    either group is resampled for itself, at its own size. What cannot be given is NaN and ``note`` says why.
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

    NaN where that variance is 0: values that separate the groups, or that are all equal, tell nothing about it. Raises
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


def _margin(truth: Truth) -> Floats:
    """Exact score of the query's answer minus that at rank k, (query,) float64; NaN without an answer."""
    answers = truth.answers()
    return np.where(answers == NONE, np.nan, truth.judged_score[answers] - truth.scores[:, -1])


def _hamming_margin(
    answers: NDArray[np.int64],
    judged_distance: NDArray[np.int32],
    kth_distance: NDArray[np.int32],
    bits: int,
) -> Floats:
    """(Distance at rank k − distance of the answer) ÷ bits, mean over seeds, (query,); NaN without an answer."""
    difference = kth_distance.astype(np.int64) - judged_distance[:, answers]
    return np.where(answers == NONE, np.nan, difference.sum(axis=0) / (bits * len(difference)))
