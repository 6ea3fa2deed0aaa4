"""Uncompressed vectors as a codec: the upper end of every curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs.base import Floats, Scoring, State, check_codes, check_vectors


@dataclass(frozen=True)
class Float32Codec:
    """The stored vectors, in float32. Embeddings stored in float16 occupy half of its bytes per vector."""

    name: ClassVar[str] = "float32"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "inner-product"

    def fit(self, sample: Floats) -> State:
        """Nothing to learn."""
        check_vectors(sample)
        return {}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.float32]:
        """(documents, dimension) float32, equal to the given vectors."""
        check_vectors(vectors)
        return vectors.astype(np.float32)

    def decode(self, state: State, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The codes themselves."""
        check_codes(codes, codes.shape[-1], np.float32)
        return codes.copy()

    def bytes_per_vector(self, dimension: int) -> int:
        return 4 * dimension
