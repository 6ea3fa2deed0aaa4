"""Transformers with random weights in the sizes of the locked study, and texts of realistic lengths for them."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._machine import ROOT
from pipeline import params
from store.corpora.api_docs import read_api_docs
from store.corpora.beir import data_root, read_beir
from store.corpora.corpus import Corpus
from store.corpora.spec import ApiDocs, Beir
from store.encoders.checkpoint import loaded_as_written
from store.encoders.device import Device
from store.encoders.sentence import SentenceEncoder, model_folder
from store.encoders.spec import SentenceTransformer

SEED = 0
PACKAGED = "all-MiniLM-L6-v2"
COUNTED = 1000
"""Texts at hand whose tokens are counted: enough for a distribution."""


@dataclass(frozen=True)
class Architecture:
    """A BERT, and how its model in the locked study is used."""

    model: str
    layers: int
    hidden: int
    heads: int
    max_tokens: int
    pooling: str

    def flops_per_token(self, tokens: float) -> float:
        """Floating-point operations of one token of a text of so many: products with weights, and attention."""
        return self.layers * (2.0 * 12 * self.hidden**2 + 4.0 * tokens * self.hidden)


ARCHITECTURES = (
    Architecture(PACKAGED, 6, 384, 12, 256, "mean"),
    Architecture("e5-base-v2", 12, 768, 12, 512, "mean"),
    Architecture("bge-large-en-v1-5", 24, 1024, 16, 512, "cls"),
)


@cache
def packaged() -> SentenceTransformer:
    """The packaged model: its tokenizer (the vocabulary of all three), and weights that were trained."""
    spec = params.load(ROOT).models[PACKAGED]
    assert isinstance(spec, SentenceTransformer)
    return spec


def save_random(folder: Path, of: Architecture) -> SentenceTransformer:
    """Save a model of an architecture with random weights; returns the entry that reads it."""
    import torch
    from sentence_transformers import SentenceTransformer as Model
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    plain = folder / "plain"
    plain.mkdir(parents=True)
    trained = model_folder(packaged(), PACKAGED)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(trained / name, plain / name)
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=json.loads((trained / "config.json").read_text())["vocab_size"],
        hidden_size=of.hidden,
        num_hidden_layers=of.layers,
        num_attention_heads=of.heads,
        intermediate_size=4 * of.hidden,
        max_position_embeddings=512,
    )
    with loaded_as_written("the model"):
        BertModel(config).save_pretrained(plain)
        modules: list[Any] = [Transformer(str(plain), max_seq_length=of.max_tokens)]
        modules += [Pooling(of.hidden, pooling_mode=of.pooling), Normalize()]
        Model(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    return packaged().model_copy(
        update={
            "name": str(folder / "model"),
            "package": None,
            "dimension": of.hidden,
            "max_tokens": of.max_tokens,
        }
    )


def load(spec: SentenceTransformer, label: str, device: Device, batch_tokens: int) -> SentenceEncoder:
    """An encoder whose batches hold ``batch_tokens`` tokens."""
    encoder = SentenceEncoder(spec, label, 1, device)
    encoder.batch_tokens = batch_tokens
    return encoder


def on(encoder: SentenceEncoder, device: Device) -> SentenceEncoder:
    """The same model in another precision of the same kind of device."""
    other = copy.copy(encoder)
    other._device = device
    return other


def with_int8_products(encoder: SentenceEncoder) -> SentenceEncoder:
    """The same model with weights and inputs of its linear layers in INT8, quantised dynamically by torch."""
    import torch

    other = copy.copy(encoder)
    quantize: Any = torch.ao.quantization.quantize_dynamic
    with warnings.catch_warnings():
        # Torch announces that this will move to a package of its own.
        warnings.simplefilter("ignore")
        other._model = quantize(encoder._model, {torch.nn.Linear}, dtype=torch.qint8)
    return other


def texts_at_hand(project: Path) -> tuple[str, Corpus]:
    """SciFact where it is, else documentation of SciPy, which is always there."""
    datasets = params.load(ROOT).datasets
    scifact, scipy = datasets["scifact"], datasets["scipy-api"]
    assert isinstance(scifact, Beir)
    assert isinstance(scipy, ApiDocs)
    if scifact.path and (data_root(project) / scifact.path).is_dir():
        with TemporaryDirectory() as scratch:
            return "scifact", read_beir(scifact, data_root(project), SEED, Path(scratch))
    return "scipy-api", read_api_docs(scipy, SEED)


@dataclass(frozen=True)
class Lengths:
    """Tokens of the texts at hand, special tokens included and nothing cut, and tokens a word."""

    tokens: NDArray[np.int64]
    tokens_per_word: float

    @classmethod
    def of(cls, texts: Sequence[str]) -> Lengths:
        """Count the tokens of the first texts; their order is drawn by a seed."""
        from tokenizers import Tokenizer

        folder = model_folder(packaged(), PACKAGED)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokens = np.array(
            [len(found.ids) for found in tokenizer.encode_batch_fast(list(texts[:COUNTED]))], np.int64
        )
        words = sum(len(text.split()) for text in texts[:COUNTED])
        return cls(tokens, float((tokens - 2).sum() / words))

    def draw(self, count: int, mean_words: float | None, max_tokens: int) -> NDArray[np.int64]:
        """Seeded lengths of as many texts: those at hand, scaled to ``mean_words`` words, and cut."""
        drawn = np.random.RandomState(SEED).choice(self.tokens, count).astype(np.float64)
        if mean_words is not None:
            drawn *= mean_words * self.tokens_per_word / self.tokens.mean()
        return np.clip(np.rint(drawn), 3, max_tokens).astype(np.int64)


def texts_of(lengths: NDArray[np.int64], corpus: Corpus, tokens_per_word: float) -> list[str]:
    """Texts of about these lengths, cut from the running words of the texts at hand."""
    words = " ".join(corpus.document_texts[:200]).split()
    random = np.random.RandomState(SEED)
    made = []
    for tokens in lengths:
        count = max(1, round((int(tokens) - 2) / tokens_per_word))
        first = random.randint(max(1, len(words) - count))
        made.append(" ".join(words[first : first + count]))
    return made
