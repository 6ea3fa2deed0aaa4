"""The frozen Phase-1 engine: exact signs on any machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.codecs import phase1
from store.codecs.phase1 import encode
from store.errors import InvalidInput
from tests.counts import count
from tests.golden import make_phase1
from tests.oracles.phase1 import exact_codes, exact_sum, gaussian_projection
from tests.paths import ROOT

EXAMPLES = settings(max_examples=count(full=400, quick=60), deadline=None)


def normal(documents: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.RandomState(seed).standard_normal((documents, dimension)).astype(np.float32)


def bits_of(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.unpackbits(codes, axis=1)


def use_projection(monkeypatch: pytest.MonkeyPatch, projection: NDArray[np.float64]) -> None:
    monkeypatch.setattr(phase1, "_projection", lambda bits, dimension, seed: projection)


def nearly_orthogonal(w: NDArray[np.float64], seed: int, corrections: int) -> NDArray[np.float32]:
    """A float32 vector whose exact inner product with ``w`` is tiny but not zero.

    Each correction sets a coordinate, kept free for it, to what cancels the sum so far as closely as it can.
    """
    x, fixed = normal(1, len(w), seed)[0].astype(np.float64), w.copy()
    x[:corrections] = fixed[:corrections] = 0
    x -= fixed * (x @ fixed) / (fixed @ fixed)
    rounded: NDArray[np.float32] = (x / np.linalg.norm(x)).astype(np.float32)
    for free in range(corrections):
        rounded[free] = np.float32(float(-exact_sum(rounded, w) / Fraction(float(w[free]))))
    return rounded


# --- the golden codes and the frozen source -------------------------------------------------------


def golden() -> dict[str, Any]:
    held: dict[str, Any] = json.loads(make_phase1.GOLDEN.read_text(encoding="utf-8"))
    return held


def test_source_is_frozen() -> None:
    assert make_phase1.source_digest() == golden()["source"], (
        "store/codecs/phase1.py has changed. It is frozen: codes already published must stay comparable with "
        "codes made later. Restore it and put the new idea into a codec "
        "of its own."
    )


def test_golden_codes_and_neighbours() -> None:
    held = golden()
    del held["source"]
    assert make_phase1.made() == held


def test_one_changed_bit_changes_the_golden_digest() -> None:
    codes = encode(make_phase1.case_vectors("narrow"), 64, 1)
    assert make_phase1.digest(codes) == golden()["codes"]["narrow"]
    codes[17, 3] ^= 1
    assert make_phase1.digest(codes) != golden()["codes"]["narrow"]


def test_public_names() -> None:
    assert phase1.__all__ == ["encode", "hamming_top_k"]
    assert (phase1.__doc__ or "").count("FROZEN") == 1


# --- signs ----------------------------------------------------------------------------------------


@EXAMPLES
@given(
    documents=st.integers(0, 5),
    dimension=st.integers(1, 40),
    width=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    half=st.booleans(),
)
def test_codes_are_the_signs_of_exact_sums(
    documents: int, dimension: int, width: int, seed: int, half: bool
) -> None:
    vectors = normal(documents, dimension, seed % 1000).astype(np.float16 if half else np.float32)
    expected = exact_codes(vectors, gaussian_projection(8 * width, dimension, seed))
    codes = encode(vectors, 8 * width, seed)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, expected)


@EXAMPLES
@given(st.data())
def test_any_finite_float32_row(data: st.DataObject) -> None:
    dimension = data.draw(st.integers(1, 6))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    row = data.draw(st.lists(finite, min_size=dimension, max_size=dimension).filter(any))
    vectors = np.array([row], np.float32)
    np.testing.assert_array_equal(
        encode(vectors, 16, 3), exact_codes(vectors, gaussian_projection(16, dimension, 3))
    )


def test_exact_zeros_give_zero_and_their_neighbours_their_sign() -> None:
    vectors, projection = make_phase1.planted()
    sums = vectors.astype(np.int64) @ projection.astype(np.int64).T
    assert (sums == 0).mean() > 0.02
    np.testing.assert_array_equal(bits_of(make_phase1.codes_under(projection, vectors)), sums > 0)


def test_planted_sums_near_zero() -> None:
    vectors, projection = make_phase1.near_zero()
    targets = np.arange(len(vectors)) % len(projection)
    sums = [exact_sum(x, projection[t]) for x, t in zip(vectors, targets, strict=True)]
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(projection, axis=1)[targets]
    assert all(0 < abs(s) < 1e-20 * n for s, n in zip(sums, norms, strict=True))
    in_float64 = (vectors.astype(np.float64) @ projection.T)[np.arange(len(vectors)), targets] > 0
    expected = np.array([s > 0 for s in sums])
    assert (in_float64 != expected).any()
    codes = make_phase1.codes_under(projection, vectors)
    np.testing.assert_array_equal(bits_of(codes)[np.arange(len(vectors)), targets], expected)
    np.testing.assert_array_equal(codes, exact_codes(vectors, projection))


@pytest.mark.parametrize("scale", [1.0, 2.0**60, 2.0**-60])
def test_cancellation_that_float64_loses(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """Sums of 0 and ±2^-70 (under 1e-21 of the norms) hidden between 1 and -1, with 53-bit weights."""
    third = 1 / 3
    row = np.array([2.0**-70, third, -third, third, -third])
    use_projection(monkeypatch, np.tile(row, (8, 1)))
    vectors = np.array([[1, 1, 1, 7, 7], [-1, 1, 1, 7, 7], [0, 1, 1, 7, 7]], np.float32) * np.float32(scale)
    assert ((vectors.astype(np.float64) * row).cumsum(axis=1)[:, -1] == 0).all()
    np.testing.assert_array_equal(bits_of(encode(vectors, 8, 0)), [[1] * 8, [0] * 8, [0] * 8])


@pytest.mark.parametrize(("corrections", "largest"), [(0, 1e-6), (1, 1e-12), (3, 1e-25)])
def test_signs_near_zero_where_float32_is_wrong(corrections: int, largest: float) -> None:
    dimension, bits, seed = 384, 16, 5
    projection = gaussian_projection(bits, dimension, seed)
    vectors = np.stack([nearly_orthogonal(projection[i % bits], i, corrections) for i in range(2 * bits)])
    targets = np.arange(len(vectors)) % bits
    sums = [exact_sum(x, projection[t]) for x, t in zip(vectors, targets, strict=True)]
    assert all(0 < abs(s) < largest for s in sums)
    expected = np.array([s > 0 for s in sums])
    assert 0 < expected.sum() < len(expected)

    chosen = (np.arange(len(vectors)), targets)
    naive = (vectors @ projection.astype(np.float32).T > 0)[chosen]
    assert (naive != expected).any()
    if corrections == 3:
        assert ((vectors.astype(np.float64) @ projection.T > 0)[chosen] != expected).any()
    np.testing.assert_array_equal(bits_of(encode(vectors, bits, seed))[chosen], expected)


def test_bounds_hold_for_the_float32_product() -> None:
    """The error of the product, against the float64 one, stays below the bound; the bound is tight."""
    vectors = normal(200, 96) * np.float32(2.0) ** np.arange(-100, 100, dtype=np.float32)[:, None]
    projection = gaussian_projection(64, 96, 0)
    norm = float(np.linalg.norm(projection, axis=1).max())
    with np.errstate(all="ignore"):
        rows, bounds = phase1._bounded(vectors, norm, 0)
    error = np.abs(rows @ projection.astype(np.float32).T - rows.astype(np.float64) @ projection.T)
    assert (error <= bounds[:, None]).all()
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    gamma = 96 * 2.0**-24
    assert (bounds >= gamma * norm * lengths).all()
    assert (bounds <= 1.3 * gamma * norm * lengths).all()


def test_few_projections_are_settled_beyond_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[int] = []
    settle = phase1._settle

    def counting(*args: Any) -> NDArray[np.bool_]:
        settled.append(len(args[1]))
        return settle(*args)

    monkeypatch.setattr(phase1, "_settle", counting)
    encode(normal(2000, 384), 512, 0)
    assert 1e-4 < sum(settled) / (2000 * 512) < 1e-3


# --- what codes do not depend on ------------------------------------------------------------------


def test_shorter_codes_are_prefixes() -> None:
    vectors = normal(300, 64)
    longest = encode(vectors, 512, 4)
    for bits in (8, 64, 128, 256, 264):
        np.testing.assert_array_equal(encode(vectors, bits, 4), longest[:, : bits // 8])
    assert (encode(vectors, 512, 5) != longest).any()


@pytest.mark.parametrize(("block", "settle"), [(1, 1), (1000, 64 * 3), (64 * 7, 1 << 19)])
def test_block_sizes_do_not_matter(monkeypatch: pytest.MonkeyPatch, block: int, settle: int) -> None:
    projection = gaussian_projection(64, 64, 2)
    near = np.stack([nearly_orthogonal(projection[i % 64], i, i % 4) for i in range(100)])
    vectors = np.concatenate([near, normal(150, 64)])
    expected = encode(vectors, 64, 2)
    monkeypatch.setattr(phase1, "_BLOCK_ENTRIES", block)
    monkeypatch.setattr(phase1, "_SETTLE_ENTRIES", settle)
    np.testing.assert_array_equal(encode(vectors, 64, 2), expected)


def test_float16_and_its_float32_values_agree() -> None:
    half = normal(500, 100).astype(np.float16)
    half[0] = 0
    half[0, 3] = np.finfo(np.float16).smallest_subnormal
    np.testing.assert_array_equal(encode(half, 128, 1), encode(half.astype(np.float32), 128, 1))


@pytest.mark.parametrize("power", [-130, -100, -11, 1, 37, 100, 127])
def test_powers_of_two_change_nothing(power: int) -> None:
    vectors = make_phase1.case_vectors("minilm-float32")[:60]
    scaled = np.ldexp(vectors.astype(np.float64), power).astype(np.float32)
    assert np.isfinite(scaled).all()
    np.testing.assert_array_equal(np.ldexp(scaled.astype(np.float64), -power), vectors)
    kept = scaled.copy()
    with np.errstate(all="raise"):
        codes = encode(scaled, 128, 0)
    np.testing.assert_array_equal(codes, encode(vectors, 128, 0))
    np.testing.assert_array_equal(scaled, kept)


def test_rows_that_span_the_range_of_float32() -> None:
    powers = np.random.RandomState(0).randint(-149, 128, size=(20, 12))
    vectors = np.ldexp(np.where(powers % 2, 1.0, -1.0), powers).astype(np.float32)
    np.testing.assert_array_equal(
        encode(vectors, 32, 0), exact_codes(vectors, gaussian_projection(32, 12, 0))
    )


def test_memory_beyond_input_and_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase1, "_BLOCK_ENTRIES", 1 << 16)
    peaks = []
    for documents in (4_000, 32_000):
        vectors = normal(documents, 64).astype(np.float16)
        encode(vectors[:10], 64, 0)
        tracemalloc.start()
        codes = encode(vectors, 64, 0)
        peaks.append(tracemalloc.get_traced_memory()[1] - codes.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 4 << 20


def test_strided_and_read_only_vectors() -> None:
    wide = normal(80, 60)
    expected = encode(wide[::2, ::3].copy(), 64, 0)
    wide.flags.writeable = False
    np.testing.assert_array_equal(encode(wide[::2, ::3], 64, 0), expected)
    np.testing.assert_array_equal(encode(np.asfortranarray(wide[::2, ::3]), 64, 0), expected)


REPORT = """
import json, numpy as np
from tests.golden import make_phase1
vectors = make_phase1.case_vectors("minilm-float32")
product = vectors @ np.random.RandomState(0).rand(384, 512).astype(np.float32)
print(json.dumps([make_phase1.made(), make_phase1.digest(product)]))
"""


def machine_settings() -> dict[str, dict[str, str]]:
    """Environments that pick another BLAS kernel, thread count, NumPy loop or C library routine."""
    dispatched = " ".join(vars(np)["_core"]._multiarray_umath.__cpu_dispatch__)
    return {
        "one thread": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        "two threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
        "SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX"},
        "Haswell": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
        "Sandybridge": {"OPENBLAS_CORETYPE": "Sandybridge"},
        "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        "Prescott, no SIMD": {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": dispatched},
        "C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX512F"},
    }


def test_same_codes_under_every_machine_setting() -> None:
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", REPORT],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **extra},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, extra in machine_settings().items()
    }
    expected, products = golden(), set()
    del expected["source"]
    for name, process in started.items():
        printed, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, f"{name}: {complaint}"
        made, product = json.loads(printed)
        assert made == expected, name
        products.add(product)
    if platform.machine() == "x86_64":
        assert len(products) > 1, "the settings did not reach the BLAS, so this test proves nothing"


# --- refused input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "vectors: row 7 holds NaN or an infinity"),
        (np.inf, "vectors: row 7 holds NaN or an infinity"),
        (-np.inf, "vectors: row 7 holds NaN or an infinity"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_unusable_rows_are_named(
    monkeypatch: pytest.MonkeyPatch, value: float, message: str, dtype: type[np.floating[Any]]
) -> None:
    monkeypatch.setattr(phase1, "_BLOCK_ENTRIES", 5 * 16)
    vectors = normal(12, 10).astype(dtype)
    vectors[7, 4] = value
    vectors[11, 1] = value
    with pytest.raises(InvalidInput, match=f"^{message}; mend or drop it"):
        encode(vectors, 16, 0)


def test_an_all_zero_row_is_named() -> None:
    vectors = normal(12, 10)
    vectors[7] = -0.0
    with pytest.raises(InvalidInput, match=r"^vectors: row 7 is all zero; mend or drop it"):
        encode(vectors, 16, 0)


@pytest.mark.parametrize(
    ("vectors", "bits", "seed", "message"),
    [
        (np.ones((2, 3)), 8, 0, r"vectors: expected a 2-D float16 or float32 array, got float64 \(2, 3\)"),
        (np.ones((2, 3), ">f4"), 8, 0, r"vectors: expected a 2-D float16 or float32 array, got >f4"),
        (np.ones(3, np.float32), 8, 0, r"vectors: expected a 2-D .*, got float32 \(3,\)"),
        ([[1.0]], 8, 0, "vectors: expected a 2-D .*, got list"),
        (np.ones((2, 0), np.float32), 8, 0, "vectors: expected 1 … 65536 dimensions, got 0"),
        (np.ones((0, 65537), np.float32), 8, 0, "vectors: expected 1 … 65536 dimensions, got 65537"),
        (np.ones((2, 3), np.float32), 12, 0, "bits: expected a positive multiple of 8, got 12"),
        (np.ones((2, 3), np.float32), 0, 0, "bits: expected a positive multiple of 8, got 0"),
        (np.ones((2, 3), np.float32), -8, 0, "bits: expected a positive multiple of 8, got -8"),
        (np.ones((2, 3), np.float32), 8.0, 0, r"bits: expected a positive multiple of 8, got 8\.0"),
        (np.ones((2, 3), np.float32), 8, -1, r"seed: expected an integer in 0 … 2\*\*32 - 1, got -1"),
        (np.ones((2, 3), np.float32), 8, 2**32, "seed: expected an integer"),
        (np.ones((2, 3), np.float32), 8, None, "seed: expected an integer .* got None"),
        (np.ones((2, 3), np.float32), 8, True, "seed: expected an integer .* got True"),
    ],
)
def test_refused_encode_input(vectors: Any, bits: Any, seed: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        encode(vectors, bits, seed)
