"""Random sentence-transformers models of a few kilobytes, in the folder layout of real ones."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

from store.encoders.spec import SentenceTransformer
from tests.paths import ROOT

DIMENSION = 16
POSITIONS = 32
WORDS = (
    "matrix",
    "sparse",
    "array",
    "mean",
    "query",
    "passage",
    "linear",
    "solve",
    "random",
    "the",
    "of",
    "a",
)


def save_tiny_bert(
    folder: Path,
    *,
    seed: int = 0,
    pooling: str = "mean",
    dtype: str = "float32",
    dimension: int = DIMENSION,
    positions: int = POSITIONS,
    layers: int = 2,
    normalize: bool = False,
) -> Path:
    """A small BERT with pooling and maybe a normalising module, saved to ``folder``; returns ``folder``."""
    import torch
    from sentence_transformers import SentenceTransformer as Model
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = string.ascii_lowercase + string.digits + ":."
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *letters,
        *(f"##{x}" for x in letters),
    ]
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=dimension,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        # Far from the usual 0.02, so that texts differ by much more than rounding.
        initializer_range=0.5,
    )
    plain = folder.with_name(folder.name + "-plain")
    BertModel(config).to(getattr(torch, dtype)).save_pretrained(plain)
    BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}).save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=positions)
    modules: list[Any] = [transformer, Pooling(dimension, pooling_mode=pooling)]
    if normalize:
        modules.append(Normalize())
    Model(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


def tiny_spec(folder: Path, **changes: object) -> SentenceTransformer:
    """The entry of ``params.yaml`` for a tiny model."""
    entry = {
        "source": "sentence-transformers",
        "name": str(folder),
        "revision": "0" * 40,
        "package": None,
        "dimension": DIMENSION,
        "max_tokens": POSITIONS,
        "query_prefix": "query: ",
        "document_prefix": "passage: ",
        "normalize": True,
    }
    return SentenceTransformer.model_validate(entry | changes)


def run_script(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python script in a process of its own, without what this one's environment says of the hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )
