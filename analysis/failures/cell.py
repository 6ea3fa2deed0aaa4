"""A cell's judgements and exact search, and what a codec found there, as labelled arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.quality.figures import is_plain
from analysis.quality.per_query import Judgements
from store.errors import InvalidInput

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

NONE = -1
"""The answer of a query without a relevant document that may be found."""

_PAIRS = 1 << 12  # pairs scored at a time


def truth_of(
    judgements: Judgements,
    judged_score: Floats,
    exact: xr.Dataset,
    *,
    self_row: NDArray[np.int32],
    query_words: NDArray[np.int64],
    n_documents: int,
    k: int,
) -> xr.Dataset:
    """Exact search and judgements of a cell, over (query, rank, judgement).

    ``judged_score`` (judgement,) float64 is the exact inner product of each judged pair; ``exact`` holds ``rows`` and
    ``scores`` of the exact search, of which the first ``k`` ranks are taken; ``self_row`` (query,) int32 is the
    document left out of a query's search, or -1; ``query_words`` (query,) int64 counts words; ``n_documents`` are
    searched.
    """
    first = exact[["rows", "scores"]].isel(configuration=0, rank=slice(k)).load()
    return (
        first.reset_coords(drop=True)
        .assign(
            judged_query=("judgement", judgements.query),
            judged_document=("judgement", judgements.document),
            relevance=("judgement", judgements.relevance),
            judged_score=("judgement", judged_score),
            self_row=("query", self_row),
            query_words=("query", query_words),
        )
        .assign_attrs(n_documents=n_documents)
    )


def searches(neighbours: xr.Dataset, codec: str, k: int, setting: str) -> dict[int, xr.Dataset]:
    """What a codec as such found at each of its sizes in bits, over (seed, query, rank).

    ``neighbours`` holds ``rows`` and ``scores`` over (configuration, query, rank) and, for Hamming searches,
    ``judged_distance`` over (configuration, judgement). Each result has ``rows`` int32, and of a Hamming search
    ``kth_distance`` (seed, query), the distance at rank ``k``, and ``judged_distance`` (seed, judgement), in bits.
    Raises InvalidInput, naming the ``setting``, for a codec or ranks that were not searched.
    """
    if k > neighbours.sizes["rank"]:
        raise InvalidInput(
            f"failures.k: {k} is more than the {neighbours.sizes['rank']} ranks that were searched; lower it"
        )
    codecs = neighbours["codec"].values
    chosen = np.flatnonzero(is_plain(neighbours) & (codecs == codec))
    if not len(chosen):
        known = ", ".join(sorted(set(codecs.tolist())))
        raise InvalidInput(f"failures.{setting}: {codec!r} was not searched; choose one of {known}")
    by_bits: dict[int, list[int]] = defaultdict(list)
    for index in sorted(chosen.tolist(), key=lambda i: int(neighbours["seed"].values[i])):
        by_bits[int(neighbours["bits"].values[index])].append(index)
    found = {}
    for bits, indices in by_bits.items():
        of_seeds = neighbours.isel(configuration=indices, rank=slice(k)).rename(configuration="seed_of_codec")
        result = of_seeds[["rows"]]
        if (of_seeds["scoring"] == "hamming").all():
            result = result.assign(
                kth_distance=of_seeds["scores"].isel(rank=k - 1).astype(np.int64),
                judged_distance=of_seeds["judged_distance"],
            )
        found[bits] = (
            result.load()
            .reset_coords(drop=True)
            .rename(seed_of_codec="seed")
            .assign_attrs(
                codec=codec,
                bits=bits,
                undertrained=codec in neighbours.attrs.get("undertrained", ()),
            )
        )
    return found


def judgements_of(truth: xr.Dataset) -> Judgements:
    """The judged pairs of a truth."""
    query, document, relevance = (
        truth[name].values for name in ("judged_query", "judged_document", "relevance")
    )
    return Judgements.sorted(query, document, relevance, truth.sizes["query"])


def answers(truth: xr.Dataset) -> NDArray[np.int64]:
    """Position of the judgement that represents each query, (query,) int64: its relevant document of best exact score.

    Among equal scores that of the smaller row; `NONE` where the only relevant document is the query itself.
    """
    query, document, score = (
        truth[name].values for name in ("judged_query", "judged_document", "judged_score")
    )
    usable = np.flatnonzero((truth["relevance"].values > 0) & (document != truth["self_row"].values[query]))
    order = usable[np.lexsort((document[usable], -score[usable], query[usable]))]
    answered, first = np.unique(query[order], return_index=True)
    found = np.full(truth.sizes["query"], NONE, np.int64)
    found[answered] = order[first]
    return found


def judged_scores(
    queries: NDArray[np.float16],
    blocks: Iterable[tuple[int, NDArray[np.float16]]],
    judgements: Judgements,
) -> Floats:
    """Inner product of each judged pair, (judgement,) float64, from the stored vectors.

    ``blocks`` are consecutive documents as (first row, (rows, dimension)). For normalised float16 vectors these
    are the exact inner products in any order of summation, and so the scores of the exact search (see
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
