"""Signs of native coordinates about zero, mean and median."""

from __future__ import annotations

from fractions import Fraction
from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray

from store.codecs.base import Binary
from store.codecs.sign import MeanSignCodec, MedianSignCodec, SignCodec
from tests.store.codecs.codec_contract import BinaryContract, same, vectors


class TestSign(BinaryContract):
    LEARNS = False
    DIMENSION_IS_IN_THE_STATE = False

    def codec(self) -> Binary:
        return SignCodec()

    def test_bits_are_one_above_zero_alone(self) -> None:
        numbers = np.array([[1, -1, 0, -0.0, 2.0**-24, -(2.0**-24), 5, -5, 3]], dtype=np.float16)
        assert SignCodec().encode({}, numbers).tolist() == [[0b10001010, 0b10000000]]

    @pytest.mark.parametrize(("dimension", "size"), [(1, 1), (8, 1), (9, 2), (384, 48)])
    def test_an_eighth_of_a_byte_a_dimension(self, dimension: int, size: int) -> None:
        assert SignCodec().bytes_per_vector(dimension) == size

    def test_bits_that_fill_the_last_byte_add_no_distance(self) -> None:
        documents = vectors(20, seed=2, dimension=9)
        top = SignCodec().search({}, -documents, 1)
        top.update(SignCodec().encode({}, documents), 0)
        assert SignCodec().project({}, documents)[:, 9:].tolist() == [[0.0] * 7] * 20
        assert top.result().scores.max() <= 9


class TestMeanSign(BinaryContract):
    def codec(self) -> Binary:
        return MeanSignCodec()

    def test_thresholds_are_the_correctly_rounded_means(self) -> None:
        sample = vectors(1000, seed=4)
        threshold = MeanSignCodec().fit(sample)["threshold"]
        exact = [sum(map(Fraction, column)) / 1000 for column in sample.T.tolist()]
        assert threshold.tolist() == [float(mean) for mean in exact]

    def test_any_order_of_the_sample_gives_the_same_means(self) -> None:
        sample = vectors(1000, seed=4)
        order = np.random.RandomState(0).permutation(1000)
        thresholds = [
            MeanSignCodec().fit(s)["threshold"] for s in (sample, sample[order], np.asfortranarray(sample))
        ]
        assert same(thresholds[0], thresholds[1])
        assert same(thresholds[0], thresholds[2])

    def test_a_sample_of_several_blocks_is_summed_whole(self) -> None:
        sample = np.arange(70_000, dtype=np.float32)[:, None] % 1000 + np.zeros(24, dtype=np.float32)
        assert MeanSignCodec().fit(sample)["threshold"].tolist() == [499.5] * 24


class TestMedianSign(BinaryContract):
    def codec(self) -> Binary:
        return MedianSignCodec()

    @pytest.mark.parametrize("rows", [1, 2, 299, 300])
    def test_thresholds_are_the_medians(self, rows: int) -> None:
        sample = vectors(rows, seed=4)
        found = MedianSignCodec().fit(sample)["threshold"]
        assert found.tolist() == [median(column) for column in sample.T.tolist()]

    def test_columns_are_taken_in_blocks(self) -> None:
        sample = np.tile(np.arange(24, dtype=np.float16), (60_000, 1))
        assert MedianSignCodec().fit(sample)["threshold"].tolist() == list(range(24))


@pytest.mark.parametrize("codec", [MeanSignCodec(), MedianSignCodec()])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_coordinate_equal_to_its_threshold_gives_zero(codec: Binary, dtype: type[np.floating]) -> None:
    value = dtype(0.1)
    around = np.array([[np.nextafter(value, dtype(-1))], [value], [np.nextafter(value, dtype(1))]])
    constant: NDArray[np.floating] = np.full((3001, 1), value)
    state = codec.fit(constant)
    assert state["threshold"].tolist() == [float(value)]
    assert codec.encode(state, around).tolist() == [[0], [0], [128]]


def test_projections_are_distances_from_the_threshold() -> None:
    state = {"threshold": np.array([0.25, -0.5, 0.0])}
    numbers = np.array([[0.5, -1, 1], [0.25, 0, -1]], dtype=np.float16)
    projected = MeanSignCodec().project(state, numbers)
    assert projected.tolist() == [[0.25, -0.5, 1, 0, 0, 0, 0, 0], [0, 0.5, -1, 0, 0, 0, 0, 0]]
