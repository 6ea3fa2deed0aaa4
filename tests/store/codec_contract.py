"""The laws of every codec. A codec's test class inherits one of these and says how to build the codec.

class TestMyCodec(DecodableContract):
    def codec(self) -> Decodable:
        return MyCodec(...)
"""

from __future__ import annotations

import dataclasses
import io
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Codec, Decodable, Floats, State, state_bytes
from store.errors import InvalidInput

DIMENSION = 24


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
    """Laws of encoding."""

    dimension_is_in_the_state = True

    @abstractmethod
    def codec(self) -> Codec:
        """A freshly built codec for vectors of DIMENSION dimensions."""

    def sample(self) -> Floats:
        return vectors(300, seed=1)

    def documents(self) -> Floats:
        return vectors(90, seed=2)

    @pytest.fixture
    def state(self) -> State:
        return stored_and_read(self.codec().fit(self.sample()))

    @pytest.fixture
    def codes(self, state: State) -> NDArray[Any]:
        return self.codec().encode(state, self.documents())

    def test_settings_are_frozen_and_labelled(self) -> None:
        codec = self.codec()
        assert codec == self.codec()
        assert hash(codec) == hash(self.codec())
        with pytest.raises(dataclasses.FrozenInstanceError):
            codec.some_setting = 1  # type: ignore[attr-defined]
        assert codec.name.isascii()
        assert codec.name == codec.name.lower() != ""
        assert codec.scoring in ("hamming", "inner-product")

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

    def test_state_size_is_counted(self, state: State) -> None:
        assert state_bytes(state) == sum(len(array.tobytes()) for array in state.values())

    def test_bytes_per_vector_are_exact(self, codes: NDArray[Any]) -> None:
        assert len(codes) == len(self.documents())
        assert codes.nbytes == len(codes) * self.codec().bytes_per_vector(DIMENSION)

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
        if not self.dimension_is_in_the_state:
            assert not state
            return
        with pytest.raises(InvalidInput, match=f"have dimension {DIMENSION - 1} .* fitted on {DIMENSION}"):
            self.codec().encode(state, self.documents()[:, 1:])


class DecodableContract(CodecContract):
    """Laws of codes that stand for vectors."""

    @abstractmethod
    def codec(self) -> Decodable:
        """A freshly built codec for vectors of DIMENSION dimensions."""

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

    def test_encoding_a_decoded_vector_gives_its_code(self, state: State, codes: NDArray[Any]) -> None:
        decoded = self.codec().decode(state, codes)
        assert same(self.codec().encode(state, decoded), codes)

    def test_decoded_vectors_are_nearer_than_the_mean(self, state: State, codes: NDArray[Any]) -> None:
        documents = self.documents().astype(np.float64)
        error = np.square(self.codec().decode(state, codes) - documents).sum()
        assert error < np.square(self.sample().mean(axis=0, dtype=np.float64) - documents).sum()

    def test_codes_of_another_kind_are_refused(self, state: State, codes: NDArray[Any]) -> None:
        with pytest.raises(InvalidInput, match="codes have shape"):
            self.codec().decode(state, codes.astype(np.int64))
        with pytest.raises(InvalidInput, match="codes have shape"):
            self.codec().decode(state, codes[0])
