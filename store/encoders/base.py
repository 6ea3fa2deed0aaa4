"""What every encoder promises, and the check of its vectors before they are used."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

Vectors = NDArray[np.float32]
Identity = Mapping[str, str | int | float | bool]
Advance = Callable[[int, int], None]
"""Called with the numbers of texts and tokens encoded; negative if they must be encoded again."""

_QUOTED = 40
"""Characters of a text that an error message quotes."""


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages by name."""
    return {name: importlib.metadata.version(name) for name in packages}


class Encoder(Protocol):
    """Turns texts into vectors; anything to be fitted was fitted before.

    ``batch_tokens`` is how many tokens a batch holds at most, padding counted; an encoder halves it where memory does
    not suffice. It is 0 where texts go through one by one.
    """

    batch_tokens: int

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    @property
    def identity(self) -> Identity:
        """What the encoder is (name, revision, digests, pooling …): meaning only, never a path, host or time."""

    @property
    def conditions(self) -> Mapping[str, Any]:
        """What else rounding depends on (versions, processor): for this machine alone, never for an artifact."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, shape (texts, dimension), float32; `InvalidInput` where a vector is unusable."""

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents, shape (texts, dimension), float32; `InvalidInput` where one is unusable."""


def check_dimension(given: int, expected: int, label: str) -> None:
    """Raise `InvalidInput` where a model's dimension is not the one that ``params.yaml`` states."""
    if given != expected:
        raise InvalidInput(
            f"model {label} gives {given} dimensions, params.yaml models.{label}.dimension says {expected}"
        )


def check_vectors(
    vectors: Vectors, what: str, *, label: str, dimension: int, names: Sequence[str] = ()
) -> None:
    """Refuse vectors that no later stage could use.

    ``vectors`` (n, d); ``what`` says what a row is ("document"); ``names`` identify rows for the reader (ids,
    or the texts themselves). `InvalidInput` names the first row with NaN or infinite values or only zeros, or
    the dimension where it is not ``dimension``.
    """
    if vectors.ndim != 2:
        raise InvalidInput(
            f"model {label} gives an array of shape {vectors.shape}, expected (texts, dimension)"
        )
    check_dimension(vectors.shape[1], dimension, label)
    # Float32 terms cannot overflow a float64 sum, so the sum is finite exactly where every term is.
    with np.errstate(invalid="ignore"):
        unusable = np.flatnonzero(~np.isfinite(vectors.sum(axis=1, dtype=np.float64)))
    if len(unusable):
        raise InvalidInput(
            f"model {label}: {_named(what, int(unusable[0]), names)} has a vector with NaN or infinite values; "
            "check the model's weights"
        )
    zeros = np.flatnonzero(~vectors.any(axis=1))
    if len(zeros):
        raise InvalidInput(
            f"model {label}: {_named(what, int(zeros[0]), names)} has an all-zero vector: the model knows nothing "
            "of this text; remove the text or choose another model"
        )


def unit_length(vectors: Vectors) -> Vectors:
    """Rows divided by their Euclidean norms, which are summed in float64; no row may be all zeros."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / norms[:, None], dtype=np.float32)


def _named(what: str, row: int, names: Sequence[str]) -> str:
    if not names:
        return f"{what} {row}"
    name = " ".join(names[row].split())
    return f"{what} {row} ({name[:_QUOTED] + '…' if len(name) > _QUOTED else name})"
