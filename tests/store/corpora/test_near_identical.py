"""Near-identical texts, against every pair compared in full."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.corpora.near_identical import leaders, words


def triples(text: list[str]) -> set[tuple[str, ...]]:
    filled = [*text, *[""] * (3 - len(text))]
    return {tuple(filled[i : i + 3]) for i in range(len(filled) - 2)}


def similarity(a: list[str], b: list[str]) -> Fraction:
    return Fraction(len(triples(a) & triples(b)), len(triples(a) | triples(b)))


def slow_leaders(texts: list[list[str]], threshold: Fraction) -> list[int]:
    """The definition, in exact fractions: the earliest leader similar enough, else the text itself."""
    found: list[int] = []
    for row, text in enumerate(texts):
        before = [other for other in range(row) if found[other] == other]
        found.append(next((o for o in before if similarity(texts[o], text) >= threshold), row))
    return found


@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), max_size=14), max_size=14),
    tenths=st.integers(1, 10),
)
def test_equals_the_definition(texts: list[list[str]], tenths: int) -> None:
    assert leaders(texts, tenths / 10).tolist() == slow_leaders(texts, Fraction(tenths, 10))


def test_a_word_changed_in_a_long_text_is_near_identical() -> None:
    text = [f"w{i}" for i in range(60)]
    changed = [*text[:30], "other", *text[31:]]
    shorter = text[:40]
    # 58 triples, of which 3 differ: 55 shared of 61; the shorter text has 38 of 58.
    assert leaders([text, changed, shorter], 0.8).tolist() == [0, 0, 2]
    assert leaders([text, changed], 55 / 61).tolist() == [0, 0]
    assert leaders([text, changed], 56 / 61).tolist() == [0, 1]


def test_words_ignore_case_punctuation_and_white_space() -> None:
    assert words("Straße,  the (Second) `n_samples`\n—no. 2!") == [
        "strasse",
        "the",
        "second",
        "n_samples",
        "no",
        "2",
    ]


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\]"):
        leaders([["a"]], threshold)
