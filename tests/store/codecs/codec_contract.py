"""The laws of every codec. A codec's test class inherits one of these, says how to build the codec, and adds what
that codec promises beyond them.

class TestMyCodec(DecodableContract):
    def codec(self) -> Decodable:
        return MyCodec(...)

CodecContract is for any codec, DecodableContract for codes that decode to vectors, BinaryContract for signs. The
attributes in capitals of the first say where the codec differs from the common case.
"""

from __future__ import annotations

import dataclasses
import io
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Binary, Codec, Decodable, State, state_bytes
from store.errors import InvalidInput
from store.search.vectors import Floats
from tests.oracles.search import folded_score, hamming, ranked

DIMENSION = 24
ODD_DIMENSION = 23
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def vectors(rows: int, seed: int, dimension: int = DIMENSION) -> NDArray[np.float16]:
    """Unit rows as the lake stores them, off-centre as embeddings are, every ninth one a repetition."""
    drawn = np.random.RandomState(seed).standard_normal((rows, dimension)) + 0.5
    drawn[8::9] = drawn[0]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(drawn, dtype=np.float16)


def stored_and_read(state: State) -> dict[str, NDArray[Any]]:
    """The state as another process would find it: from bytes, read-only."""
    read = {}
    for name, array in state.items():
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        file.seek(0)
        read[name] = np.load(file, allow_pickle=False)
        read[name].flags.writeable = False
    return read


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal in dtype, shape and every bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class CodecContract(ABC):
    """Laws of fitting, encoding and search."""

    LEARNS: ClassVar[bool] = True
    """Whether the state depends on the sample."""

    FEWEST_DOCUMENTS: ClassVar[int] = 1
    """The smallest sample that a codec which learns can be fitted on."""

    DIMENSION_IS_IN_THE_STATE: ClassVar[bool] = True
    """Whether the codec can know that vectors have another dimension than its sample."""

    DIVIDES_THE_DIMENSION: ClassVar[bool] = False
    """Whether a dimension that the codec's parts do not divide is refused; all others are encoded whole."""

    REFUSES_ZERO: ClassVar[bool] = False
    """Whether a vector of zeros is refused."""

    @abstractmethod
    def codec(self) -> Codec:
        """A freshly built codec for vectors of DIMENSION dimensions."""

    @abstractmethod
    def scores(self, state: State, queries: Floats, codes: NDArray[Any]) -> NDArray[Any]:
        """(queries, documents) scores as `search` reports them, by plain loops."""

    def sample(self) -> Floats:
        return vectors(300, seed=1)

    def documents(self) -> Floats:
        return vectors(90, seed=2)

    def queries(self) -> Floats:
        return vectors(7, seed=3)

    @pytest.fixture
    def state(self) -> State:
        return stored_and_read(self.codec().fit(self.sample()))

    @pytest.fixture
    def codes(self, state: State) -> NDArray[Any]:
        return self.codec().encode(state, self.documents())

    def test_settings_are_frozen_and_labelled(self) -> None:
        codec: Any = self.codec()
        assert codec == self.codec()
        assert hash(codec) == hash(self.codec())
        with pytest.raises(dataclasses.FrozenInstanceError):
            codec.some_setting = 1
        assert codec.name.isascii()
        assert codec.name == codec.name.lower() != ""
        assert codec.scoring in ("hamming", "inner-product", "asymmetric")
        assert all(type(value) in (int, float, str) for value in dataclasses.asdict(codec).values())

    def test_the_state_is_what_is_declared(self, state: State) -> None:
        declared = self.codec().STATE
        assert set(state) == set(declared)
        sizes: dict[str, int] = {}
        for name, array in state.items():
            assert array.dtype == declared[name].dtype
            assert len(declared[name].dims) == array.ndim
            assert declared[name].description
            assert "seed" not in declared[name].dims
            for dimension, size in zip(declared[name].dims, array.shape, strict=True):
                assert sizes.setdefault(dimension, size) == size
        assert sizes.get("dimension", DIMENSION) == DIMENSION

    def test_fitting_again_gives_the_same_bytes(self, state: State) -> None:
        sample = self.sample()
        before = sample.copy()
        again = self.codec().fit(sample)
        assert list(again) == list(state)
        assert all(same(again[name], state[name]) for name in state)
        assert same(sample, before)

    def test_float32_copy_of_the_sample_gives_the_same_state(self, state: State) -> None:
        again = self.codec().fit(self.sample().astype(np.float32))
        assert all(same(again[name], state[name]) for name in state)

    def test_the_sample_alone_is_fitted_on(self, state: State, codes: NDArray[Any]) -> None:
        codec = self.codec()
        other = codec.fit(vectors(400, seed=4))
        assert any(not same(other[name], state[name]) for name in state) == self.LEARNS
        # Neither a fit nor an encoding in between leaves anything behind.
        codec.encode(other, vectors(10, seed=5))
        assert same(codec.encode(state, self.documents()), codes)

    def test_too_few_documents_are_refused(self) -> None:
        if not self.LEARNS:
            assert self.FEWEST_DOCUMENTS == 1
            return
        few = self.sample()[: self.FEWEST_DOCUMENTS]
        self.codec().fit(few)
        with pytest.raises(InvalidInput, match=r"fitted on (no|\d+) documents"):
            self.codec().fit(few[:-1])

    def test_state_size_is_counted(self, state: State) -> None:
        assert state_bytes(state) == sum(len(array.tobytes()) for array in state.values())

    def test_bytes_per_vector_are_exact(self, codes: NDArray[Any]) -> None:
        assert codes.ndim == 2
        assert codes.dtype == np.uint8
        assert codes.shape == (len(self.documents()), self.codec().bytes_per_vector(DIMENSION))

    def test_encoding_leaves_its_input_alone(self, state: State) -> None:
        documents = self.documents()
        before = documents.copy()
        self.codec().encode(state, documents)
        assert same(documents, before)

    def test_a_code_depends_on_its_row_alone(self, state: State, codes: NDArray[Any]) -> None:
        documents = self.documents()
        order = np.random.RandomState(0).permutation(len(documents))
        assert same(self.codec().encode(state, documents[order]), codes[order])
        for size in (1, 7, 64):
            parts = [
                self.codec().encode(state, documents[at : at + size]) for at in range(0, len(documents), size)
            ]
            assert same(np.concatenate(parts), codes)

    def test_memory_layout_and_float_width_do_not_matter(self, state: State, codes: NDArray[Any]) -> None:
        documents = self.documents()
        encode: Any = self.codec().encode
        assert same(encode(state, np.asfortranarray(documents)), codes)
        assert same(encode(state, np.repeat(documents, 2, axis=1)[:, ::2]), codes)
        assert same(encode(state, documents.astype(np.float32)), codes)

    def test_repeated_rows_have_one_code(self, codes: NDArray[Any]) -> None:
        assert all(same(code, codes[0]) for code in codes[8::9])

    def test_codes_tell_documents_apart(self, codes: NDArray[Any]) -> None:
        distinct = np.unique(self.documents(), axis=0)
        assert len(np.unique(codes, axis=0)) > len(distinct) / 2

    def test_no_rows_give_no_codes(self, state: State, codes: NDArray[Any]) -> None:
        none = self.codec().encode(state, self.documents()[:0])
        assert none.shape == (0, *codes.shape[1:])
        assert none.dtype == codes.dtype

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_rows_that_are_not_finite_are_refused(self, state: State, bad: float) -> None:
        sample, documents = self.sample(), self.documents()
        sample[17, 3] = bad
        documents[5, 0] = bad
        with pytest.raises(InvalidInput, match="row 17 holds NaN or"):
            self.codec().fit(sample)
        with pytest.raises(InvalidInput, match="row 5 holds NaN or"):
            self.codec().encode(state, documents)

    def test_other_dtypes_and_shapes_are_refused(self, state: State) -> None:
        with pytest.raises(InvalidInput, match="float64"):
            self.codec().fit(self.sample().astype(np.float64))  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="float64"):
            self.codec().encode(state, self.documents().astype(np.float64))  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="float16"):
            self.codec().encode(state, self.documents()[0])

    def test_another_dimension_is_refused(self, state: State) -> None:
        if not self.DIMENSION_IS_IN_THE_STATE:
            assert not state
            return
        with pytest.raises(InvalidInput, match=f"have dimension {DIMENSION - 1} .* fitted on {DIMENSION}"):
            self.codec().encode(state, self.documents()[:, 1:])

    def test_a_dimension_that_does_not_divide(self) -> None:
        codec, sample = self.codec(), vectors(300, seed=1, dimension=ODD_DIMENSION)
        if self.DIVIDES_THE_DIMENSION:
            with pytest.raises(InvalidInput, match=f"divisor of the dimension {ODD_DIMENSION}"):
                codec.fit(sample)
            return
        state = stored_and_read(codec.fit(sample))
        documents = vectors(40, seed=2, dimension=ODD_DIMENSION)
        codes = codec.encode(state, documents)
        assert codes.shape == (40, codec.bytes_per_vector(ODD_DIMENSION))
        assert same(codec.encode(state, documents[3:4]), codes[3:4])
        queries = vectors(5, seed=3, dimension=ODD_DIMENSION)
        top = codec.search(state, queries, 4)
        top.update(codes, 0)
        self.check_neighbours(top.result(), self.scores(state, queries, codes), 4, np.full(5, -1))

    def test_extreme_vectors_have_codes(self, state: State) -> None:
        signs = np.where(np.arange(DIMENSION) % 3 == 0, -1.0, 1.0)
        extremes = np.array(
            [LARGEST * signs, LARGEST * (signs > 0), SMALLEST * signs, 1e5 * signs, 1e-30 * signs]
        )
        self.check_codes_of(state, extremes.astype(np.float32))
        halves = np.array([65504 * signs, 2.0**-24 * signs], dtype=np.float16)
        self.check_codes_of(state, halves)

    def test_vectors_of_zeros(self, state: State) -> None:
        zeros = np.zeros((2, DIMENSION), dtype=np.float16)
        zeros[1] = -0.0
        if self.REFUSES_ZERO:
            with pytest.raises(InvalidInput, match="row 0 is all zero"):
                self.codec().encode(state, zeros)
        else:
            self.check_codes_of(state, zeros)

    def test_a_constant_sample_is_fitted(self) -> None:
        constant = np.repeat(vectors(1, seed=1), 300, axis=0)
        state = stored_and_read(self.codec().fit(constant))
        assert all(np.isfinite(array).all() for array in state.values())
        self.check_codes_of(state, constant[:3])
        self.check_codes_of(state, self.documents())

    @pytest.mark.parametrize("step", [1, 37, 90])
    def test_search_is_that_of_the_oracle(self, state: State, codes: NDArray[Any], step: int) -> None:
        queries = self.queries()
        scores = self.scores(state, queries, codes)
        exclude = self.better(scores).argmax(axis=1)
        exclude[1::3] = -1
        top = self.codec().search(state, queries, 12, exclude)
        for at in reversed(range(0, len(codes), step)):
            top.update(codes[at : at + step], at)
        self.check_neighbours(top.result(), scores, 12, exclude)

    def test_search_without_exclusions_can_rank_every_document(
        self, state: State, codes: NDArray[Any]
    ) -> None:
        queries = self.queries()
        top = self.codec().search(state, queries, len(codes))
        top.update(codes, 0)
        none = np.full(len(queries), -1)
        self.check_neighbours(top.result(), self.scores(state, queries, codes), len(codes), none)

    def test_too_few_documents_to_search_are_refused(self, state: State, codes: NDArray[Any]) -> None:
        top = self.codec().search(state, self.queries(), 4)
        top.update(codes[:3], 0)
        with pytest.raises(InvalidInput, match="k is 4 but some query has fewer documents"):
            top.result()

    def check_neighbours(self, found: Any, scores: NDArray[Any], k: int, exclude: NDArray[np.int64]) -> None:
        """Rows and scores are those of a full sort: the better score, then the smaller row."""
        better = self.better(scores).tolist()
        rows = np.array([ranked(each, k, int(row)) for each, row in zip(better, exclude, strict=True)])
        assert found.larger_is_better == (self.codec().scoring != "hamming")
        assert found.rows.tolist() == rows.tolist()
        assert found.scores.tolist() == np.take_along_axis(scores, rows, axis=1).tolist()

    def better(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Scores of which the greater is the better."""
        return -scores if self.codec().scoring == "hamming" else scores

    def check_codes_of(self, state: State, documents: Floats) -> None:
        """They are what each row alone has."""
        codec = self.codec()
        codes = codec.encode(state, documents)
        assert codes.shape == (len(documents), codec.bytes_per_vector(documents.shape[1]))
        assert same(np.concatenate([codec.encode(state, row[None]) for row in documents]), codes)


class DecodableContract(CodecContract):
    """Laws of codes that decode to vectors."""

    @abstractmethod
    def codec(self) -> Decodable:
        """A freshly built codec for vectors of DIMENSION dimensions."""

    def scores(self, state: State, queries: Floats, codes: NDArray[Any]) -> NDArray[Any]:
        decoded = self.codec().decode(state, codes)
        return np.array([[folded_score(query, document) for document in decoded] for query in queries])

    def check_encoded_again(self, state: State, codes: NDArray[Any]) -> None:
        """A decoded vector is a fixed point."""
        assert same(self.codec().encode(state, self.codec().decode(state, codes)), codes)

    def check_codes_of(self, state: State, documents: Floats) -> None:
        super().check_codes_of(state, documents)
        codes = self.codec().encode(state, documents)
        assert np.isfinite(self.codec().decode(state, codes)).all()
        self.check_encoded_again(state, codes)

    def test_decoding_gives_one_float32_vector_a_code(self, state: State, codes: NDArray[Any]) -> None:
        decoded = self.codec().decode(state, codes)
        assert decoded.dtype == np.float32
        assert decoded.shape == self.documents().shape
        assert np.isfinite(decoded).all()

    def test_decoding_a_row_depends_on_its_code_alone(self, state: State, codes: NDArray[Any]) -> None:
        decoded = self.codec().decode(state, codes)
        order = np.random.RandomState(0).permutation(len(codes))
        assert same(self.codec().decode(state, codes[order]), decoded[order])
        assert same(np.concatenate([self.codec().decode(state, code[None]) for code in codes]), decoded)

    def test_decoding_leaves_its_input_alone(self, state: State, codes: NDArray[Any]) -> None:
        before = codes.copy()
        self.codec().decode(state, codes)[:] = 0
        assert same(codes, before)
        assert same(self.codec().decode(state, np.asfortranarray(codes)), self.codec().decode(state, codes))

    def test_encoding_a_decoded_vector_gives_its_code(self, state: State, codes: NDArray[Any]) -> None:
        self.check_encoded_again(state, codes)

    def test_decoded_vectors_are_nearer_than_the_mean(self, state: State, codes: NDArray[Any]) -> None:
        documents = self.documents().astype(np.float64)
        error = np.square(self.codec().decode(state, codes) - documents).sum()
        assert error < np.square(self.sample().mean(axis=0, dtype=np.float64) - documents).sum()

    def test_codes_of_another_kind_are_refused(self, state: State, codes: NDArray[Any]) -> None:
        with pytest.raises(InvalidInput, match="codes have shape"):
            self.codec().decode(state, codes.astype(np.int64))
        with pytest.raises(InvalidInput, match="codes have shape"):
            self.codec().decode(state, codes[0])

    def test_queries_of_another_dimension_are_refused(self, state: State, codes: NDArray[Any]) -> None:
        top = self.codec().search(state, self.queries()[:, 1:], 3)
        with pytest.raises(InvalidInput, match=f"documents have dimension {DIMENSION} and the queries"):
            top.update(codes, 0)


class BinaryContract(CodecContract):
    """Laws of codes that are signs."""

    @abstractmethod
    def codec(self) -> Binary:
        """A freshly built codec for vectors of DIMENSION dimensions."""

    def scores(self, state: State, queries: Floats, codes: NDArray[Any]) -> NDArray[Any]:
        return hamming(self.codec().encode(state, queries), codes)

    def test_bits_are_the_signs_of_the_projections(self, state: State, codes: NDArray[Any]) -> None:
        projected = self.codec().project(state, self.documents())
        assert projected.dtype == np.float64
        assert projected.shape == (len(codes), 8 * codes.shape[1])
        assert same(np.packbits(projected > 0, axis=1), codes)

    def test_a_projection_depends_on_its_row_alone(self, state: State) -> None:
        documents = self.documents()
        projected = self.codec().project(state, documents)
        order = np.random.RandomState(0).permutation(len(documents))
        assert same(self.codec().project(state, documents[order]), projected[order])
        alone = [self.codec().project(state, row[None]) for row in documents]
        assert same(np.concatenate(alone), projected)
        assert same(self.codec().project(state, documents.astype(np.float32)), projected)
