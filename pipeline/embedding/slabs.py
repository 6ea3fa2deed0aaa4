"""Slabs of documents, encoded wherever there is a worker: on a machine with a GPU, for one.

A worker reads the texts itself, from the project's folder where it is shared, else from its own checkout.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.embedding.stored_vectors import stored
from store.corpora.corpus import DOCUMENTS_FILE, iter_texts, read_texts
from store.encoders.base import Encoder
from store.encoders.device import Device
from store.encoders.prepare import prepared_encoder
from store.encoders.spec import EncoderSpec
from store.errors import InvalidInput
from store.layout import CHECKOUT, Layout
from store.leaf import digest
from store.leaf.growth import Block


@dataclass(frozen=True)
class Slabs:
    """What is needed to encode any slab of a cell: ``root`` is the project's folder, ``identity`` the encoder's."""

    root: Path
    spec: EncoderSpec
    model: str
    dataset: str
    corpus_digest: str
    batch_size: int
    device: Device
    identity: str


def identity_of(encoder: Encoder) -> str:
    """What makes an encoder the one it is, and what its rounding depends on, as text."""
    return json.dumps([dict(encoder.identity), dict(encoder.conditions)], sort_keys=True)


@dataclass(frozen=True)
class Encoded:
    """Vectors of a slab as they are stored, the tokens of a batch by which they were made, and those of the texts."""

    vectors: NDArray[np.float16]
    batch_tokens: int
    tokens: int


class _Counted:
    """Counts the tokens that an encoder has seen."""

    tokens = 0

    def __call__(self, texts: int, tokens: int) -> None:
        self.tokens += tokens


def encode_slab(slabs: Slabs, slab: Block) -> Encoded:
    """The documents of a slab, encoded by this process.

    Raises InvalidInput where this process has other texts or another encoder than the stage.
    """
    documents = _layout(slabs).corpus(slabs.dataset) / DOCUMENTS_FILE
    texts = next(iter_texts(documents, slab.rows, slab.first), [])
    if digest.of_texts(texts) != slab.content:
        raise InvalidInput(
            f"corpora/{slabs.dataset}: a worker has other texts than the stage; share the project's folder with the "
            f"workers, or run `dvc repro corpus@{slabs.dataset}` on each"
        )
    encoder, counted = _encoder(slabs)
    before = counted.tokens
    vectors = stored(encoder.encode_documents(texts), "document", slabs.model, slab.first)
    return Encoded(vectors, encoder.batch_tokens, counted.tokens - before)


@lru_cache(maxsize=1)
def _encoder(slabs: Slabs) -> tuple[Encoder, _Counted]:
    counted = _Counted()
    layout = _layout(slabs)
    documents = layout.corpus(slabs.dataset) / DOCUMENTS_FILE
    encoder = prepared_encoder(
        slabs.spec,
        label=slabs.model,
        documents=lambda: read_texts(documents),
        corpus_digest=slabs.corpus_digest,
        cache=layout.prepared,
        batch_size=slabs.batch_size,
        device=slabs.device,
        advance=counted,
    )
    if identity_of(encoder) != slabs.identity:
        raise InvalidInput(
            f"models.{slabs.model}: a worker has another encoder than the stage; share the project's folder with the "
            "workers, so that what was fitted is fitted once"
        )
    return encoder, counted


def _layout(slabs: Slabs) -> Layout:
    shared = Layout(slabs.root)
    return shared if (shared.corpus(slabs.dataset) / DOCUMENTS_FILE).is_file() else Layout(CHECKOUT)
