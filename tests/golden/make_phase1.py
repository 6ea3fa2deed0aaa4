"""Makes ``phase1.json``: what the frozen Phase-1 engine gave when the lake was founded.

Run once, as ``python -m tests.golden.make_phase1``. Where the file exists it is compared, never written:
codes that have been published cannot be made again, so a difference is a fault of the engine, not of the
golden file. Inputs are integers over 2048 (exact in float16 and float32), so they do not depend on a
mathematical library.
"""

from __future__ import annotations

import hashlib
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.codecs import phase1
from tests.oracles.phase1 import exact_sum

GOLDEN = Path(__file__).with_name("phase1.json")
SOURCE = Path(phase1.__file__)

# name: (dtype, documents, dimension, bits, seed of the engine)
CASES: dict[str, tuple[str, int, int, int, int]] = {
    "one-dimension": ("float32", 64, 1, 64, 0),
    "narrow": ("float16", 300, 48, 64, 1),
    "minilm": ("float16", 500, 384, 512, 0),
    "minilm-float32": ("float32", 500, 384, 512, 0),
    "base": ("float16", 200, 768, 256, 3),
    "large": ("float32", 100, 1024, 128, 2**32 - 1),
}
SHOWN_BITS = 64  # the small code kept in full, to see at a glance what changed
SHOWN_DOCUMENTS = 8
NEIGHBOURS = 20
PLANTED_SHAPE = (400, 16, 64)  # documents, dimension, bits
NEAR_ZERO_SHAPE = (32, 64, 32, 4)  # documents, dimension, bits, coordinates that cancel


def source_digest() -> str:
    """SHA-256 of the engine's source with plain line ends."""
    return hashlib.sha256(SOURCE.read_text(encoding="utf-8").encode()).hexdigest()


def case_vectors(name: str) -> NDArray[Any]:
    """Input of one case, (document, dimension)."""
    dtype, documents, dimension, _, _ = CASES[name]
    state = np.random.RandomState(20_000 + dimension)
    integers = state.randint(-2048, 2049, size=(documents, dimension))
    integers[integers == 0] = 1
    return (integers / 2048).astype(dtype)


def planted() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Vectors and a projection of small integers: a few percent of their inner products are exactly zero."""
    documents, dimension, bits = PLANTED_SHAPE
    state = np.random.RandomState(7)
    vectors = state.randint(-3, 4, size=(documents, dimension)).astype(np.float32)
    vectors[:, 0] = 1
    return vectors, state.randint(-3, 4, size=(bits, dimension)).astype(np.float64)


def near_zero() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Vectors and 53-bit weights: vector i and weights i % bits cancel to less than 1e-20 of their norms.

    The last coordinates of a vector are set, one after the other, to what cancels the sum so far as closely
    as a float32 can. Integers and rational arithmetic only, so every machine makes the same vectors.
    """
    vectors_count, dimension, bits, corrections = NEAR_ZERO_SHAPE
    state = np.random.RandomState(11)
    projection = state.randint(-(2**53) + 1, 2**53, size=(bits, dimension), dtype=np.int64) / 2.0**52
    vectors = state.randint(-2048, 2049, size=(vectors_count, dimension)).astype(np.float32)
    vectors[:, -corrections:] = 0
    for i, x in enumerate(vectors):
        w = projection[i % bits]
        for free in range(dimension - corrections, dimension):
            x[free] = np.float32(float(-exact_sum(x, w) / Fraction(float(w[free]))))
    return vectors, projection


def codes_under(projection: NDArray[np.float64], vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """The engine's codes with the given matrix in place of the Gaussian one."""
    drawn = phase1._projection
    phase1._projection = lambda bits, dimension, seed: projection  # type: ignore[assignment]
    try:
        return phase1.encode(vectors, len(projection), 0)
    finally:
        phase1._projection = drawn


def digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 of shapes, dtypes and little-endian bytes."""
    state = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        state.update(f"{plain.dtype.str}{plain.shape}".encode() + plain.tobytes())
    return state.hexdigest()


def made() -> dict[str, Any]:
    """Everything the golden file holds but the digest of the source."""
    codes = {name: phase1.encode(case_vectors(name), case[3], case[4]) for name, case in CASES.items()}
    documents = codes["narrow"][:, :2]  # 16 bits: nearly every distance is tied
    distances, rows = phase1.hamming_top_k(documents[:50], documents, NEIGHBOURS)
    vectors, projection = planted()
    near_vectors, near_projection = near_zero()
    shown = codes["minilm"][:SHOWN_DOCUMENTS, : SHOWN_BITS // 8]
    return {
        "codes": {name: digest(code) for name, code in codes.items()},
        "planted": digest(codes_under(projection, vectors)),
        "near_zero": digest(codes_under(near_projection, near_vectors)),
        "neighbours": digest(distances, rows),
        "shown": [bytes(code).hex() for code in shown],
    }


def main() -> int:
    """Write the golden file where there is none; elsewhere say whether it still holds."""
    current = {"source": source_digest(), **made()}
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(current, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if json.loads(GOLDEN.read_text(encoding="utf-8")) == current:
        return 0
    print(f"{GOLDEN.name}: the engine no longer gives this; restore {SOURCE.name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
