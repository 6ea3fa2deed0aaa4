"""Slow oracles for retrieval quality: definitions in plain Python, trec_eval itself, ties by enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

Graded = Sequence[Mapping[int, int]]
"""For each query, the relevance of each judged document."""


def recall(ranking: Sequence[int], graded: Mapping[int, int], k: int) -> float:
    """Share of the relevant documents among the first k."""
    relevant = {document for document, grade in graded.items() if grade > 0}
    return len(relevant & set(ranking[:k])) / len(relevant)


def mrr(ranking: Sequence[int], graded: Mapping[int, int], k: int) -> float:
    """1 ÷ rank of the first relevant document among the first k, else 0."""
    for rank, document in enumerate(ranking[:k], start=1):
        if graded.get(document, 0) > 0:
            return 1 / rank
    return 0.0


def ndcg(ranking: Sequence[int], graded: Mapping[int, int], k: int) -> float:
    """Linear gain over log2(rank + 1), divided by that of the best possible ranking."""

    def discounted(grades: Sequence[int]) -> float:
        return sum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))

    best = sorted(graded.values(), reverse=True)
    return discounted([graded.get(document, 0) for document in ranking]) / discounted(best)


def overlap(found: Sequence[int], exact: Sequence[int], k: int) -> float:
    """Share of the exact top-k found in the top-k."""
    return len(set(found[:k]) & set(exact[:k])) / k


def trec_eval(rankings: Sequence[Sequence[int]], graded: Graded, k: int) -> dict[str, list[float]]:
    """recall, ndcg and mrr at k for each query from trec_eval, given scores that fall with the rank.

    trec_eval does not cut reciprocal rank, so it sees the first k documents only.
    """
    import pytrec_eval

    qrels = {str(q): {str(d): grade for d, grade in judged.items()} for q, judged in enumerate(graded)}
    run = {
        str(q): {str(document): float(len(ranking) - rank) for rank, document in enumerate(ranking[:k])}
        for q, ranking in enumerate(rankings)
    }
    measured = pytrec_eval.RelevanceEvaluator(qrels, {f"recall.{k}", f"ndcg_cut.{k}", "recip_rank"}).evaluate(
        run
    )
    names = {"recall": f"recall_{k}", "ndcg": f"ndcg_cut_{k}", "mrr": "recip_rank"}
    return {ours: [measured[str(q)][theirs] for q in range(len(graded))] for ours, theirs in names.items()}


def recall_over_all_tie_orders(distances: Sequence[int], graded: Mapping[int, int], k: int) -> float:
    """Mean of Recall@k over every order of the documents, each breaking the ties in its own way."""
    values = [
        recall(sorted(order, key=distances.__getitem__), graded, k)
        for order in itertools.permutations(range(len(distances)))
    ]
    return sum(values) / len(values)
