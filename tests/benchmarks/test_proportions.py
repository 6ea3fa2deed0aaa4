"""The arithmetic of scale, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks._proportions import Rates, bytes_of, tables
from store.codecs.int8 import Int8Codec
from store.codecs.phase1_codec import Phase1Codec
from store.codecs.pq import PQCodec
from store.errors import InvalidInput

RATES = Rates(
    dimension=384,
    device="a GPU",
    encoded={"small": 1000.0},
    read=2e9,
    written=1e9,
    coded={"Phase-1, 512 bits": 200_000.0},
    compared={"float16 vectors": 2e8, "Phase-1 codes, 64 bits": 4e9},
)


def rows(text: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line]
    return {row[0]: row[1:] for row in cells}


def test_bytes_are_those_of_the_codecs() -> None:
    found = bytes_of(384)
    assert found["float16 vectors"] == 768
    assert found["INT8 codes"] == Int8Codec().bytes_per_vector(384)
    assert found["PQ codes, 32 bytes"] == PQCodec(32, 0, 1).bytes_per_vector(384)
    for bits in (64, 256, 512):
        assert found[f"Phase-1 codes, {bits} bits"] == Phase1Codec(bits, 0).bytes_per_vector(384)


def test_figures_by_hand() -> None:
    found = rows(tables(RATES))
    assert found["at rest"] == [
        f"{size} documents" for size in ("10,000,000", "100,000,000", "1,000,000,000")
    ]
    assert found["float16 vectors"] == ["7.68 GB", "76.8 GB", "768 GB"]
    assert found["Phase-1 codes, 64 bits"] == ["80 MB", "800 MB", "8 GB"]
    # 768 bytes × 10,000,000 ÷ 134,217,728 = 57.2 shards.
    assert found["shards of the vectors"] == ["58", "573", "5,723"]
    # 61.44 Gbit, 614.4 Gbit, 6,144 Gbit.
    assert found["the vectors over 1 Gbit/s"] == ["61.4 s", "10.2 min", "102 min"]
    assert found["the vectors over 10 Gbit/s"] == ["6.14 s", "61.4 s", "10.2 min"]
    assert found["256-bit codes over 1 Gbit/s"] == ["2.56 s", "25.6 s", "4.27 min"]
    assert found["writing the vectors to disk"] == ["7.68 s", "76.8 s", "12.8 min"]
    assert found["reading the vectors once from disk"] == ["3.84 s", "38.4 s", "6.4 min"]
    # 10,000 s, 100,000 s and 1,000,000 s.
    assert found["embed with small (a GPU)"] == ["2.78 h", "27.8 h", "11.6 days"]
    assert found["encode: Phase-1, 512 bits"] == ["50 s", "8.33 min", "83.3 min"]
    # 1,000 queries: 50 s for each 10,000,000 documents.
    assert found["search 1,000 queries: float16 vectors"] == ["50 s", "8.33 min", "83.3 min"]
    assert found["search 1,000 queries: Phase-1 codes, 64 bits"] == ["2.5 s", "25 s", "4.17 min"]


def test_large_and_small_figures_have_three_digits() -> None:
    found = rows(tables(replace(RATES, encoded={"slow": 1.0}), sizes=(3, 1_000_000_000_000)))
    assert found["embed with slow (a GPU)"] == ["3 s", "11,600,000 days"]
    assert found["float16 vectors"] == ["2.3 kB", "768 TB"]
    assert found["Phase-1 codes, 64 bits"] == ["24 B", "8 TB"]


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(wrong: float) -> None:
    for change, name in (
        ({"read": wrong}, "read"),
        ({"encoded": {"small": wrong}}, r"encoded\.small"),
        ({"compared": {"x": wrong}}, r"compared\.x"),
    ):
        with pytest.raises(InvalidInput, match=rf"^{name} is {wrong}: measure it again"):
            replace(RATES, **change)
