"""LSA against TF-IDF and a full SVD in plain NumPy."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from store.encoders import lsa
from store.encoders.lsa import LsaEncoder
from store.encoders.spec import Lsa
from store.errors import InvalidInput

TERMS = [f"term{letter}" for letter in "abcdefghijklmnopqrst"]


def spec(**changes: object) -> Lsa:
    entry = {
        "source": "lsa",
        "dimension": 6,
        "min_df": 2,
        "max_df": 0.9,
        "sublinear_tf": True,
        "ngram_max": 1,
        "max_features": None,
        "seed": 0,
        "iterations": 10,
        "normalize": True,
    }
    return Lsa.model_validate(entry | changes)


def documents(n: int = 60) -> list[str]:
    random = np.random.RandomState(1)
    shares = np.arange(len(TERMS), 0, -1.0) ** 2
    texts = (random.choice(TERMS, 12, p=shares / shares.sum()) for _ in range(n))
    return [" ".join(words) + " Everywhere" for words in texts]


def fitted(chosen: Lsa, texts: list[str]) -> LsaEncoder:
    state, vocabulary = lsa.fit(chosen, "lsa", texts)
    return LsaEncoder(chosen, "lsa", state, vocabulary, "digest")


def oracle(texts: list[str], kept: list[str], dimension: int) -> NDArray[np.float64]:
    """Documents in the space of the first right singular vectors of their TF-IDF matrix."""
    counts = np.array([[re.findall(r"\w\w+", text.lower()).count(term) for term in kept] for text in texts])
    tf = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    tfidf = tf * (np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0))) + 1)
    tfidf /= np.linalg.norm(tfidf, axis=1, keepdims=True)
    return np.asarray(tfidf @ np.linalg.svd(tfidf, full_matrices=False)[2][:dimension].T)


def test_cosines_equal_those_of_a_full_svd() -> None:
    texts = documents()
    chosen = spec()
    state, vocabulary = lsa.fit(chosen, "lsa", texts)
    kept = json.loads(vocabulary)
    assert "everywhere" not in kept  # in every document, above max_df
    assert all(2 <= sum(term in text.split() for text in texts) <= 54 for term in kept)
    vectors = LsaEncoder(chosen, "lsa", state, vocabulary, "digest").encode_documents(texts)
    expected = oracle(texts, kept, 6)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=2e-5)
    assert vectors.dtype == np.float32
    components = state["components"]
    assert components.dtype == np.float32
    np.testing.assert_allclose(components @ components.T, np.eye(6), atol=1e-5)


def test_without_normalisation_lengths_are_those_of_the_projection() -> None:
    texts = documents()
    encoder = fitted(spec(normalize=False), texts)
    kept = json.loads(lsa.fit(spec(), "lsa", texts)[1])
    expected = np.linalg.norm(oracle(texts, kept, 6), axis=1)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_documents(texts), axis=1), expected, atol=1e-5)


def test_a_text_without_a_known_term_gets_the_mean_direction() -> None:
    texts = documents()
    encoder = fitted(spec(), texts)
    mean = encoder.encode_documents(texts).astype(np.float64).mean(axis=0)
    unknown, known = encoder.encode_queries(["utterly novel", "terma"])
    np.testing.assert_allclose(unknown, mean / np.linalg.norm(mean), atol=1e-6)
    assert abs(known - unknown).max() > 0.1


def test_a_vector_does_not_depend_on_the_other_texts() -> None:
    texts = documents()
    encoder = fitted(spec(), texts)
    together = encoder.encode_documents(texts)
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    assert together.tobytes() == alone.tobytes()
    assert together.tobytes() == encoder.encode_queries(texts).tobytes()


def test_the_seed_fixes_the_bytes() -> None:
    first, second = (lsa.fit(spec(iterations=1), "lsa", documents())[0] for _ in range(2))
    other = lsa.fit(spec(iterations=1, seed=1), "lsa", documents())[0]
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert first["components"].tobytes() != other["components"].tobytes()


def test_sequences_of_words_are_terms_up_to_ngram_max() -> None:
    vocabulary = json.loads(lsa.fit(spec(ngram_max=2, max_features=30), "lsa", documents())[1])
    assert len(vocabulary) == 30
    assert any(" " in term for term in vocabulary)


def test_identity_says_what_it_is() -> None:
    identity = fitted(spec(), documents()).identity
    assert identity["fitted_on"] == "digest"
    assert identity["dimension"] == 6
    assert identity["max_features"] == "none"
    assert identity["terms"] == len(json.loads(lsa.fit(spec(), "lsa", documents())[1]))


@pytest.mark.parametrize(
    ("changes", "n", "message"),
    [
        (
            {},
            5,
            r"^models\.lsa\.dimension: 6 needs as many documents and terms; there are 5 documents and \d+ terms$",
        ),
        ({"dimension": 40}, 60, r"there are 60 documents and 1\d terms$"),
        ({"min_df": 59}, 60, r"^models\.lsa: no term is left \(.*\); lower min_df or raise max_df$"),
    ],
)
def test_too_little_to_fit_on(changes: dict[str, object], n: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        lsa.fit(spec(**changes), "lsa", documents(n))
