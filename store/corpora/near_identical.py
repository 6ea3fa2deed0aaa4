"""Which texts say the same, found exactly: sets of word triples, compared by their Jaccard similarity."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_SHINGLE = 3
# A product such as 0.8 · 5 may come out above 4; the slack keeps it from counting as 5.
_SLACK = 1e-9


def words(text: str) -> list[str]:
    """The words of a text without regard to case, punctuation and white space."""
    return _WORD.findall(text.casefold())


def leaders(texts: Sequence[Sequence[str]], threshold: float) -> NDArray[np.int32]:
    """For each text (given by its words) the row of the text that represents it, int32 (text,).

    A text is led by the earliest leader whose set of word triples has Jaccard similarity ≥ ``threshold`` (in
    (0, 1]) with its own; a leader names itself. So no two leaders are that similar. Only texts that share one
    of their rarest triples can be (prefix filtering: Chaudhuri, Ganti & Kaushik 2006; Bayardo, Ma & Srikant
    2007), and those are compared in full.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    triples, shared_from, start = _triples_rarest_first(texts)
    size = np.diff(start)
    # An overlap of ceil(t·n) leaves n − ceil(t·n) foreign triples; one more is sure to hold a shared one.
    prefix = size - np.maximum(1, np.ceil(threshold * size - _SLACK).astype(np.int64)) + 1
    sets: dict[int, frozenset[int]] = {}

    def triple_set(row: int) -> frozenset[int]:
        if row not in sets:
            sets[row] = frozenset(triples[start[row] : start[row + 1]].tolist())
        return sets[row]

    leader = np.arange(len(texts), dtype=np.int32)
    leaders_with: defaultdict[int, list[int]] = defaultdict(list)
    for row in range(len(texts)):
        rare = triples[start[row] : start[row] + prefix[row]]
        shared = rare[rare >= shared_from].tolist()
        candidates = {candidate for triple in shared for candidate in leaders_with[triple]}
        for candidate in sorted(candidates):
            smaller, larger = sorted((size[row], size[candidate]))
            if smaller < threshold * larger - _SLACK:
                continue
            common = len(triple_set(row) & triple_set(candidate))
            if common >= threshold * (size[row] + size[candidate] - common) - _SLACK:
                leader[row] = candidate
                break
        else:
            for triple in shared:
                leaders_with[triple].append(row)
    return leader


def _triples_rarest_first(texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], int, NDArray[np.int64]]:
    """(triples, shared_from, start): a text's distinct triples are ``triples[start[row]:start[row + 1]]``.

    They ascend. A triple is a number, the rarer the smaller; those below ``shared_from`` occur once only. A
    text of fewer than three words counts as filled up with an empty word.
    """
    filled = [[*text, *[""] * (_SHINGLE - len(text))] if len(text) < _SHINGLE else text for text in texts]
    number = {word: i for i, word in enumerate(dict.fromkeys(chain.from_iterable(filled)))}
    word = np.fromiter(map(number.__getitem__, chain.from_iterable(filled)), dtype=np.int64)
    text_of = np.repeat(np.arange(len(filled)), [len(text) for text in filled])
    # Renumbering the pairs keeps the products far below 2^63.
    pair = np.unique(word[:-1] * len(number) + word[1:], return_inverse=True)[1]
    code = pair[:-1] * len(number) + word[2:]
    text = text_of[:-2]
    inside = text == text_of[2:]
    text = text[inside]
    _, triple, count = np.unique(code[inside], return_inverse=True, return_counts=True)
    rarity = np.empty(len(count), dtype=np.int64)
    rarity[np.argsort(count, kind="stable")] = np.arange(len(count))
    pairs = np.sort(text * max(1, len(count)) + rarity[triple])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # np.unique would hash, which takes far longer
    text, triple = np.divmod(pairs, max(1, len(count)))
    start = np.concatenate([[0], np.cumsum(np.bincount(text, minlength=len(texts)))])
    return triple, int(np.count_nonzero(count == 1)), start
