"""What every codec offers.

A codec is a frozen dataclass whose fields are its settings: plain numbers and strings. `fit` turns a sample of
documents into named arrays, which the lake stores; everything else works from those arrays alone, so a code
never depends on what else was encoded with it. A new codec is one new file with a class of this shape, which
the file's tuple `OFFERS` names (see `store.codecs.registry`), and a test class that inherits the contract suite.

Two facts that few codecs have are said by their class: `PREFIXES = True` where the code of fewer `bits` is the
beginning of that of more, and `WELL_TRAINED`, the documents that a fit should see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput
from store.leaf.schema import Field
from store.search.asymmetric import AsymmetricTopK
from store.search.hamming import HammingTopK
from store.search.inner_product import InnerProductTopK
from store.search.neighbours import Neighbours, TopK
from store.search.vectors import Floats

State: TypeAlias = Mapping[str, NDArray[Any]]
"""What fitting found, as named arrays. Empty for a codec that needs no fitting."""

Scoring: TypeAlias = Literal["hamming", "inner-product", "asymmetric"]
"""How a query is compared with a document: Hamming distance of their codes, inner product with the decoded document, or
an estimate of the inner product from the uncompressed query and the document's code."""


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
    """A codec whose codes decode to vectors."""

    def decode(self, state: State, codes: NDArray[Any]) -> NDArray[np.float32]:
        """The (documents, dimension) float32 vectors that the codes decode to."""


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


def search_asymmetric(
    codec: Binary, state: State, queries: Floats, k: int, exclude: NDArray[np.int64] | None = None
) -> AsymmetricTopK:
    """Search a binary codec's codes with the projections of (queries, dimension) vectors."""
    return AsymmetricTopK(codec.project(state, queries), k, exclude)


class _DecodedTopK:
    def __init__(self, codec: Decodable, state: State, top: InnerProductTopK) -> None:
        self._decode = partial(codec.decode, state)
        self._top = top

    def update(self, block: NDArray[Any], first_row: int) -> None:
        self._top.update_decoded(block, first_row, self._decode)

    def result(self) -> Neighbours:
        return self._top.result()


def has_prefixes(codec: Codec) -> bool:
    """Whether the longest code of this codec serves all shorter ones."""
    return bool(getattr(codec, "PREFIXES", False))


def undertrained(codec: Codec, documents: int) -> bool:
    """Whether figures of the codec, fitted on so many documents, carry the flag "under-trained"."""
    return documents < int(getattr(codec, "WELL_TRAINED", 0))


def check_shape(codec: Codec, documents: int, dimension: int) -> None:
    """Refuse a codec that cannot be fitted on so many documents of that dimension.

    A codec of which that may be so has a method of this name, which `fit` calls too. What it says of a setting begins
    with the setting's name, and what to do stands after the last colon.
    """
    check: Callable[[int, int], None] | None = getattr(codec, "check_shape", None)
    if check is not None:
        check(documents, dimension)


def check_least(codec: object, **least: int) -> None:
    """Refuse a codec with a setting below its least value, naming it."""
    for name, value in least.items():
        found = getattr(codec, name)
        if found < value:
            raise InvalidInput(f"{name} is {found}: give at least {value}")


def state_bytes(state: State) -> int:
    """Size in bytes of what all codes of one cell share."""
    return sum(array.nbytes for array in state.values())
