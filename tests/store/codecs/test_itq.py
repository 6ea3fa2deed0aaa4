"""ITQ: the shared laws, and its alternation against the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Binary
from store.codecs.itq import ITQCodec
from store.errors import InvalidInput
from tests.oracles.quantizers import itq_losses, quantization_loss
from tests.store.codecs.codec_contract import BinaryContract, vectors


class TestITQ(BinaryContract):
    FEWEST_DOCUMENTS: ClassVar[int] = 17

    def codec(self) -> Binary:
        return ITQCodec(bits=16, seed=3, iterations=10)

    @pytest.mark.parametrize("bits", [0, -8, 12])
    def test_bits_that_are_no_bytes_are_refused(self, bits: int) -> None:
        with pytest.raises(InvalidInput, match=f"bits is {bits}: give a positive multiple of 8"):
            ITQCodec(bits, 0, 1)

    @pytest.mark.parametrize(("field", "value"), [("seed", -1), ("iterations", 0)])
    def test_settings_out_of_range_are_refused(self, field: str, value: int) -> None:
        with pytest.raises(InvalidInput, match=f"{field} is {value}: give at least {value + 1}"):
            ITQCodec(**{"bits": 8, "seed": 0, "iterations": 1, field: value})

    def test_more_bits_than_dimensions_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="bits is 32: give at most the dimension 24"):
            ITQCodec(32, 0, 1).fit(self.sample())


def sample_and_components(
    bits: int,
) -> tuple[NDArray[np.float16], NDArray[np.float64], NDArray[np.float64]]:
    """Float16 sample, its centred coordinates along the first principal components, and these."""
    sample = vectors(2000, seed=5)
    sample = (sample * np.linspace(1, 0.2, sample.shape[1])).astype(np.float16)
    centered = sample.astype(np.float64) - sample.mean(axis=0, dtype=np.float64)
    _, _, right = np.linalg.svd(centered, full_matrices=False)
    return sample, centered @ right[:bits].T, right[:bits].T


def test_axes_are_an_orthonormal_basis_of_the_principal_components() -> None:
    sample, _, components = sample_and_components(16)
    axes = ITQCodec(16, seed=0, iterations=20).fit(sample)["axes"].astype(np.float64)
    assert np.abs(axes.T @ axes - np.eye(16)).max() < 1e-6
    assert np.abs(components @ (components.T @ axes) - axes).max() < 1e-5


def losses(sample: NDArray[np.float16], iterations: Sequence[int]) -> list[float]:
    found = []
    for count in iterations:
        codec = ITQCodec(16, seed=0, iterations=count)
        found.append(quantization_loss(codec.project(codec.fit(sample), sample)))
    return found


def test_loss_never_increases_and_falls_below_that_of_the_plain_components() -> None:
    sample, projected, _ = sample_and_components(16)
    found = losses(sample, range(1, 30))
    assert all(
        after <= before + 0.01 for before, after in pairwise(found)
    )  # float32 may tip a sign near zero
    assert found[-1] < found[0] - 100
    assert found[-1] < quantization_loss(projected) - 100


def test_the_alternation_is_that_of_the_paper() -> None:
    sample, projected, _ = sample_and_components(16)
    start = np.linalg.qr(np.random.RandomState(0).standard_normal((16, 16)))[0]
    expected = itq_losses(projected, start, 10)
    assert all(after <= before for before, after in pairwise(expected))
    # The oracle's components may point the other way, which starts the alternation elsewhere: another local
    # optimum, of about the same loss.
    gain, expected_gain = (
        quantization_loss(projected) - loss for loss in (losses(sample, [10])[0], expected[-1])
    )
    assert gain == pytest.approx(expected_gain, rel=0.05)


def test_the_loss_is_below_that_of_faiss() -> None:
    sample, projected, _ = sample_and_components(16)
    by_faiss = faiss.ITQMatrix(16)
    by_faiss.max_iter = 30
    rows = np.ascontiguousarray(projected, dtype=np.float32)
    by_faiss.train(rows)
    assert losses(sample, [30])[0] < quantization_loss(by_faiss.apply_py(rows).astype(np.float64))


def test_settings_reach_the_training() -> None:
    sample = vectors(600, seed=6)
    base = ITQCodec(16, seed=0, iterations=3).fit(sample)["axes"]
    for other in (ITQCodec(16, seed=1, iterations=3), ITQCodec(16, seed=0, iterations=4)):
        assert (other.fit(sample)["axes"] != base).any()


def test_projections_are_coordinates_about_the_mean() -> None:
    sample = vectors(200, seed=7)
    codec = ITQCodec(16, seed=0, iterations=5)
    state = codec.fit(sample)
    documents = vectors(30, seed=8)
    expected = (documents.astype(np.float64) - state["mean"]) @ state["axes"].astype(np.float64)
    assert np.abs(codec.project(state, documents) - expected).max() < 1e-12
    assert np.abs(state["mean"] - sample.astype(np.float64).mean(axis=0)).max() < 1e-7


def test_training_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ITQCodec(16, seed=0, iterations=2).fit(vectors(100, seed=9))
    assert capfd.readouterr() == ("", "")
