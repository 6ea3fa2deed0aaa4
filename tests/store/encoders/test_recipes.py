"""The recipe of each model of the study against the rules on its card, computed with plain transformers.

The models are random and small, but of the same architecture and with the same modules as the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from store.encoders.base import Vectors
from store.encoders.sentence import SentenceEncoder
from tests.paths import ROOT
from tests.store.encoders.tiny_models import DIMENSION, WORDS, save_tiny_bert, tiny_spec

PARAMS = ROOT / "params.yaml"
BGE_INSTRUCTION = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True)
class Card:
    """What a model's card says: pooling, where texts are cut, and what is put before them."""

    pooling: str
    max_tokens: int
    query_prefix: str
    document_prefix: str


CARDS = {
    "all-MiniLM-L6-v2": Card("mean", 256, "", ""),
    "e5-base-v2": Card("mean", 512, "query: ", "passage: "),
    "bge-large-en-v1-5": Card("cls", 512, BGE_INSTRUCTION, ""),
}


def by_the_card(folder: Path, card: Card, texts: list[str], prefix: str) -> Vectors:
    """Vectors as the card computes them: tokens of the last layer, pooled without the padding, to unit length."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    transformer = AutoModel.from_pretrained(folder)
    batch = tokenizer(
        [prefix + text for text in texts],
        max_length=card.max_tokens,
        padding=True,
        truncation=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        states = transformer(**batch).last_hidden_state
    if card.pooling == "cls":
        pooled = states[:, 0]
    else:
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
    vectors: Vectors = torch.nn.functional.normalize(pooled, p=2, dim=1).numpy()
    return vectors


def texts() -> list[str]:
    """Texts of every length, some of them longer than any model takes."""
    random = np.random.RandomState(0)
    return [" ".join(random.choice(WORDS, words)) for words in (1, 2, 5, 30, 240, 260, 505, 520, 700)]


@pytest.fixture(scope="module", params=sorted(CARDS))
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A label and the folder of its random model: BERT, pooling, and the module that normalises."""
    label: str = request.param
    folder = tmp_path_factory.mktemp("recipes") / label
    return label, save_tiny_bert(folder, pooling=CARDS[label].pooling, positions=512, normalize=True)


def encoder(folder: Path, card: Card, **changes: object) -> SentenceEncoder:
    settings = {
        "max_tokens": card.max_tokens,
        "query_prefix": card.query_prefix,
        "document_prefix": card.document_prefix,
    }
    return SentenceEncoder(tiny_spec(folder, **(settings | changes)), "tiny", 2)


def test_vectors_are_those_of_the_card(recipe: tuple[str, Path]) -> None:
    label, folder = recipe
    card = CARDS[label]
    ours = encoder(folder, card)
    assert ours.identity["modules"] == f"Transformer+Pooling({card.pooling})+Normalize"
    for encode, prefix in (
        (ours.encode_queries, card.query_prefix),
        (ours.encode_documents, card.document_prefix),
    ):
        vectors = encode(texts())
        assert vectors.shape == (len(texts()), DIMENSION)
        np.testing.assert_allclose(vectors, by_the_card(folder, card, texts(), prefix), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_another_recipe_gives_other_vectors(recipe: tuple[str, Path]) -> None:
    label, folder = recipe
    card = CARDS[label]
    expected = encoder(folder, card).encode_queries(texts())
    other = "mean" if card.pooling == "cls" else "cls"
    wrong = [
        by_the_card(folder, Card(other, card.max_tokens, "", ""), texts(), card.query_prefix),
        encoder(folder, card, query_prefix=card.query_prefix + "the ").encode_queries(texts()),
        encoder(folder, card, max_tokens=card.max_tokens // 2).encode_queries(texts()),
    ]
    for vectors in wrong:
        assert abs(vectors - expected).max() > 0.01


def test_entries_of_the_study_say_what_the_cards_say() -> None:
    entries = yaml.safe_load(PARAMS.read_text())["models"]
    for label in CARDS.keys() & entries.keys():
        entry, card = entries[label], CARDS[label]
        assert (entry["max_tokens"], entry["query_prefix"], entry["document_prefix"]) == (
            card.max_tokens,
            card.query_prefix,
            card.document_prefix,
        ), label
        assert entry["normalize"] is True, label
