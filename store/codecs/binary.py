"""The Phase-1 engine as a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from store.codecs import phase1
from store.codecs.base import Floats, Scoring, State, check_vectors
from store.errors import InvalidInput


@dataclass(frozen=True)
class Phase1Codec:
    """Packed signs of Gaussian projections, compared by Hamming distance.

    bits: length of the code, a multiple of 8; the code of a shorter length is a prefix of a longer one.
    seed: of the projection.
    """

    bits: int
    seed: int

    name: ClassVar[str] = "phase1"
    variant: ClassVar[str] = ""
    scoring: ClassVar[Scoring] = "hamming"

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise InvalidInput(f"bits is {self.bits}: give a positive multiple of 8")

    def fit(self, sample: Floats) -> State:
        """Nothing to learn: the projection follows from the seed."""
        check_vectors(sample)
        return {}

    def encode(self, state: State, vectors: Floats) -> NDArray[np.uint8]:
        """(documents, bits / 8) uint8, first bit in the most significant place."""
        return phase1.encode(vectors, self.bits, self.seed)

    def bytes_per_vector(self, dimension: int) -> int:
        return self.bits // 8
