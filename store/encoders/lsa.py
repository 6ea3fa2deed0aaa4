"""Latent semantic analysis (Deerwester et al. 1990): TF-IDF and truncated SVD, fitted on the documents of a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.encoders.base import (
    Advance,
    Identity,
    Vectors,
    check_vectors,
    unit_length,
    versions,
)
from store.encoders.spec import Lsa
from store.errors import InvalidInput
from store.leaf import digest
from store.libraries import one_thread
from store.progress import unwatched

State = Mapping[str, NDArray[Any]]

UNKNOWN_NORM = 1e-6
"""A projected TF-IDF row (length at most 1) shorter than this is rounding, not meaning."""

_OVERSAMPLES = 10
_TOKEN = r"(?u)\b\w\w+\b"


def fit(spec: Lsa, label: str, documents: Sequence[str]) -> tuple[dict[str, NDArray[Any]], str]:
    """The state of the encoder and its vocabulary as a JSON list, terms in column order.

    State: ``idf`` (terms,) float64; ``components`` (dimension, terms) float32, orthonormal rows;
    ``mean_direction`` (dimension,) float32, unit length: where texts without a known term go.
    One thread computes it, so the number of threads does not change it. `InvalidInput` where documents or terms
    are fewer than the dimension.
    """
    from sklearn.decomposition import TruncatedSVD

    vectorizer = _vectorizer(spec)
    try:
        weights = vectorizer.fit_transform(documents)
    except ValueError as error:  # an empty vocabulary, or min_df above max_df
        raise InvalidInput(
            f"models.{label}: no term is left ({error}); lower min_df or raise max_df"
        ) from error
    if min(weights.shape) < spec.dimension:
        raise InvalidInput(
            f"models.{label}.dimension: {spec.dimension} needs as many documents and terms; there are "
            f"{weights.shape[0]} documents and {weights.shape[1]} terms"
        )
    svd = TruncatedSVD(
        spec.dimension,
        n_iter=spec.iterations,
        n_oversamples=_OVERSAMPLES,
        random_state=np.random.RandomState(spec.seed),
    )
    with one_thread():
        components = svd.fit(weights).components_.astype(np.float32)
        projected = weights @ components.T.astype(np.float64)
    lengths = np.linalg.norm(projected, axis=1)
    known = lengths >= UNKNOWN_NORM
    mean = (projected[known] / lengths[known, None]).mean(axis=0)
    state = {
        "idf": np.asarray(vectorizer.idf_, np.float64),
        "components": components,
        "mean_direction": (mean / np.linalg.norm(mean)).astype(np.float32),
    }
    return state, json.dumps(vectorizer.get_feature_names_out().tolist(), ensure_ascii=False)


class LsaEncoder:
    """TF-IDF row × components.

    A text without a known term has no direction of its own: it gets the mean direction of the documents, which
    ranks documents by how typical they are, instead of a zero vector.
    """

    def __init__(
        self,
        spec: Lsa,
        label: str,
        state: State,
        vocabulary: str,
        corpus_digest: str,
        advance: Advance = unwatched,
    ) -> None:
        self._spec, self._label, self._advance = spec, label, advance
        self.batch_tokens = 0
        self._components = state["components"].T.astype(np.float64)
        self._mean_direction = state["mean_direction"]
        self._vectorizer = _vectorizer(spec, json.loads(vocabulary))
        self._vectorizer.idf_ = state["idf"]
        self.identity: Identity = {
            **spec.model_dump(exclude={"max_features"}),
            "max_features": "none" if spec.max_features is None else spec.max_features,
            "fitted_on": corpus_digest,
            "terms": len(state["idf"]),
            "state_sha256": digest.of_arrays(state),
        }

    @property
    def dimension(self) -> int:
        return self._spec.dimension

    @property
    def conditions(self) -> Mapping[str, str]:
        return versions("numpy", "scipy", "scikit-learn")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, "query")

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, "document")

    def _encode(self, texts: Sequence[str], what: str) -> Vectors:
        projected = self._vectorizer.transform(texts) @ self._components
        unknown = np.linalg.norm(projected, axis=1) < UNKNOWN_NORM
        vectors = projected.astype(np.float32)
        vectors[unknown] = self._mean_direction
        check_vectors(vectors, what, label=self._label, dimension=self.dimension, names=texts)
        # Terms are words here, so there are no tokens to count.
        self._advance(len(texts), 0)
        return unit_length(vectors) if self._spec.normalize else vectors


def _vectorizer(spec: Lsa, vocabulary: Sequence[str] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        lowercase=True,
        token_pattern=_TOKEN,
        ngram_range=(1, spec.ngram_max),
        min_df=spec.min_df,
        max_df=float(spec.max_df),
        max_features=spec.max_features,
        sublinear_tf=spec.sublinear_tf,
        norm="l2",
        smooth_idf=True,
        vocabulary=vocabulary,
    )
