"""Static token vectors distilled from a teacher: fitted once, then a text is the mean over its tokens."""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.encoders.base import (
    Advance,
    Identity,
    Vectors,
    check_dimension,
    check_vectors,
    unit_length,
    versions,
)
from store.encoders.checkpoint import loaded_as_written
from store.encoders.spec import Distilled
from store.errors import UnavailableResource
from store.leaf import digest
from store.libraries import one_thread
from store.progress import unwatched


def distil(spec: Distilled, label: str, teacher: Path) -> tuple[dict[str, NDArray[np.float32]], str]:
    """The state {"table": (tokens, dimension) float32} and the tokenizer as JSON; ``teacher`` is its folder.

    One thread computes it, so the number of threads does not change it. `UnavailableResource` where the
    packages that distil are missing.
    """
    missing = [name for name in ("model2vec", "skeletoken") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableResource(
            f"models.{label}: distillation needs {' and '.join(missing)}; run pip install {' '.join(missing)}"
        )
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    print(f"  {label}: distilling the vocabulary of {spec.teacher.public_name}", file=sys.stderr, flush=True)
    # The library draws progress bars into logs, too, and warns of arguments of its own that model2vec has dropped.
    unseen: AbstractContextManager[object] = nullcontext()
    if not sys.stderr.isatty():
        unseen = redirect_stderr(io.StringIO())
    logger = logging.getLogger(StaticEmbedding.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    what = f"models.{label}: its teacher {spec.teacher.public_name}"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with loaded_as_written(what), unseen, one_thread():
            static = StaticEmbedding.from_distillation(
                str(teacher),
                device="cpu",
                pca_dims=spec.dimension if spec.pca else None,
                sif_coefficient=spec.sif_coefficient,
                token_remove_pattern=spec.token_remove_pattern,
                quantize_to="float32",
            )
    finally:
        torch.set_num_threads(threads)
        logger.setLevel(level)
    table = static.embedding.weight.detach().numpy()
    check_dimension(table.shape[1], spec.dimension, label)
    return {"table": np.ascontiguousarray(table, dtype=np.float32)}, static.tokenizer.to_str()


class DistilledEncoder:
    """Mean of the token vectors, as ``StaticEmbedding`` takes it, summed in float64 and without torch."""

    def __init__(
        self,
        spec: Distilled,
        label: str,
        state: Mapping[str, NDArray[np.float32]],
        tokenizer: str,
        teacher_digests: Mapping[str, str],
        advance: Advance = unwatched,
    ) -> None:
        from tokenizers import Tokenizer

        self._spec, self._label, self._advance = spec, label, advance
        self.batch_tokens = 0
        self._table = state["table"].astype(np.float64)
        check_dimension(self._table.shape[1], spec.dimension, label)
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_padding()
        self.identity: Identity = {
            "source": spec.source,
            "teacher_name": spec.teacher.public_name,
            "teacher_revision": spec.teacher.revision,
            **{f"teacher_{name}": digest for name, digest in teacher_digests.items()},
            "dimension": spec.dimension,
            "pca": spec.pca,
            "sif_coefficient": "none" if spec.sif_coefficient is None else spec.sif_coefficient,
            "token_remove_pattern": spec.token_remove_pattern or "",
            "tokens": len(self._table),
            "table_sha256": digest.of_array(state["table"]),
            "normalize": spec.normalize,
        }

    @property
    def dimension(self) -> int:
        return self._spec.dimension

    @property
    def conditions(self) -> Mapping[str, str]:
        return versions("numpy", "scipy", "tokenizers")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, "query")

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, "document")

    def _encode(self, texts: Sequence[str], what: str) -> Vectors:
        from scipy.sparse import csr_array

        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.array(encoding.ids, np.int64) for encoding in encodings]
        lengths = np.array([len(tokens) for tokens in ids], np.int64)
        shape = (len(ids), len(self._table))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.concatenate([*ids, np.empty(0, np.int64)])
        sums = csr_array((np.ones(len(tokens)), tokens, ends), shape=shape) @ self._table
        # A text without a token has the sum zero, which the check below refuses.
        vectors = (sums / np.maximum(lengths, 1)[:, None]).astype(np.float32)
        check_vectors(vectors, what, label=self._label, dimension=self.dimension, names=texts)
        self._advance(len(texts), len(tokens))
        return unit_length(vectors) if self._spec.normalize else vectors
