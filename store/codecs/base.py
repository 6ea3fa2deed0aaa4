"""What every codec offers.

A codec is a frozen dataclass whose fields are its settings: plain numbers and strings. `fit` turns a sample of
documents into named arrays, which the lake stores; everything else works from those arrays alone, so a code
never depends on what else was encoded with it. A new codec is one new file with a class of this shape, which
the file's tuple `OFFERS` names (see `store.codecs.registry`), and a test class that inherits the contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.leaf.schema import Field
from store.search.hamming import HammingTopK
from store.search.inner_product import InnerProductTopK
from store.search.neighbours import Neighbours

State: TypeAlias = Mapping[str, NDArray[Any]]
"""What fitting found, as named arrays. Empty for a codec that needs no fitting."""

Floats: TypeAlias = NDArray[np.float16] | NDArray[np.float32]

Scoring: TypeAlias = Literal["hamming", "inner-product", "asymmetric"]
"""How a query meets a document: Hamming distance of their codes, inner product with the decoded document, or an
estimate of the inner product from the uncompressed query and the document's code."""


CENTROIDS = 256
"""Of a quantiser: a byte of its code names one of so many."""


class TopK(Protocol):
    """An exhaustive search that meets the documents in blocks and keeps the best k of them."""

    def update(self, block: NDArray[Any], first_row: int) -> None:
        """Search (documents, …) codes, the first of which is row `first_row`; each row once."""

    def result(self) -> Neighbours:
        """The neighbours among all documents so far; InvalidInput if some query has fewer than k."""


class Codec(Protocol):
    """A compressed representation of vectors."""

    STATE: ClassVar[Mapping[str, Field]]
    """Every array of the state, without the seed dimension under which the lake stacks several fits."""

    @property
    def name(self) -> str:
        """The codec's label in the lake and in every table."""

    @property
    def variant(self) -> str:
        """The label of this form of the codec; empty for the plain one."""

    @property
    def scoring(self) -> Scoring:
        """How its documents are compared with queries."""

    def fit(self, sample: Floats) -> State:
        """The state learned from (documents, dimension) vectors, a function of them and of the settings."""

    def encode(self, state: State, vectors: Floats) -> NDArray[Any]:
        """Codes, one row a vector: a function of the state and of that row alone.

        Raises InvalidInput for vectors that are not finite or not of the state's dimension.
        """

    def search(self, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None) -> TopK:
        """The k best documents for (queries, dimension) vectors, among the codes it is then given.

        exclude: (queries,) int64, the document row to leave out of each query's neighbours, or -1.
        """

    def bytes_per_vector(self, dimension: int) -> int:
        """Exact size of one code in bytes, side information included, shared state not."""


class Decodable(Codec, Protocol):
    """A codec whose codes stand for vectors."""

    def decode(self, state: State, codes: NDArray[Any]) -> NDArray[np.float32]:
        """The (documents, dimension) float32 vectors that the codes stand for."""


class Binary(Codec, Protocol):
    """A codec whose codes are signs, eight to a byte, the first in the most significant place."""

    def project(self, state: State, vectors: Floats) -> NDArray[np.float64]:
        """The (rows, bits) numbers of which the code keeps the signs: a bit is 1 where its number is positive."""


def search_decoded(
    codec: Decodable, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None
) -> TopK:
    """Search by inner product with the decoded documents; ties go to the smaller row."""
    return _DecodedTopK(codec, state, InnerProductTopK(queries, k, exclude))


def search_hamming(
    codec: Codec, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None
) -> TopK:
    """Search by Hamming distance from the encoded queries; ties go to the smaller row."""
    return HammingTopK(codec.encode(state, queries), k, exclude)


class _DecodedTopK:
    def __init__(self, codec: Decodable, state: State, top: InnerProductTopK) -> None:
        self._decode = partial(codec.decode, state)
        self._top = top

    def update(self, block: NDArray[Any], first_row: int) -> None:
        self._top.update_decoded(block, first_row, self._decode)

    def result(self) -> Neighbours:
        return self._top.result()


def state_bytes(state: State) -> int:
    """Size in bytes of what all codes of one cell share."""
    return sum(array.nbytes for array in state.values())


def check_vectors(vectors: NDArray[Any], dimension: int | None = None) -> None:
    """Refuse anything but finite (rows, dimension) float16 or float32 vectors, naming the first bad row."""
    if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32) or vectors.shape[1] == 0:
        raise InvalidInput(
            f"vectors have shape {vectors.shape} and dtype {vectors.dtype}: "
            "give (rows, dimension) in float16 or float32"
        )
    if dimension is not None and vectors.shape[1] != dimension:
        raise InvalidInput(
            f"vectors have dimension {vectors.shape[1]} but the codec was fitted on {dimension}: "
            "use vectors of the model it was fitted on"
        )
    for rows in row_blocks(len(vectors), vectors.shape[1]):
        finite = np.isfinite(vectors[rows]).all(axis=1)
        if not finite.all():
            row = rows.start + int(np.argmin(finite))
            raise InvalidInput(f"vectors row {row} holds NaN or infinity: remove or recompute it")


def check_codes(codes: NDArray[Any], width: int, dtype: type[np.generic]) -> None:
    """Refuse anything but (rows, width) codes of the codec's dtype."""
    if codes.ndim != 2 or codes.shape[1] != width or codes.dtype != dtype:
        raise InvalidInput(
            f"codes have shape {codes.shape} and dtype {codes.dtype}: "
            f"give (rows, {width}) in {np.dtype(dtype).name}, as this codec encodes"
        )


def row_blocks(rows: int, width: int) -> list[slice]:
    """Slices that cut `rows` rows of `width` elements into blocks of about a million elements."""
    step = max(1, (1 << 20) // width)
    return [slice(at, min(at + step, rows)) for at in range(0, rows, step)]
