"""The Phase-1 engine: signs of Gaussian projections, compared by Hamming distance.

FROZEN. Every code the lake has ever published was made by this file and is compared with codes made later, so
for the same vectors, bits and seed each bit must stay the same for ever. Nothing here is changed, not even
for speed or style; a new idea is a new codec in a file of its own. A test holds the digests of this source
and of golden codes.

Definition. W has i.i.d. N(0, 1) entries in float64 and the shape (bits, dimension), drawn row by row from
``numpy.random.RandomState(seed).standard_normal``, so a code of fewer bits is a prefix of a longer one of the
same seed. Bit i of a vector x is 1 when the real number sum_j W[i, j] x[j] is positive, and 0 when it is zero
or negative. The sum is the exact one, without rounding: x is taken as stored and upcast, and is not
normalised again, because the lake stores L2-normalised vectors and the sign of W x does not depend on the
norm anyway.

Method. A float32 product settles every bit whose error bound excludes zero, a float64 product nearly all
others (about 0.04%), and an exactly rounded sum what is then left. The bounds hold for any order of
summation, with or without fused multiply-add, so given W no bit depends on threads, BLAS, SIMD level or
blocks. The last place of an entry of W may follow the C library, whose logarithm is not correctly rounded;
that can reach only a bit whose sum is below 1e-15 of the product of the norms.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

__all__ = ["encode", "hamming_top_k"]

_BLOCK_ENTRIES = 1 << 21  # projections (documents x bits) or coordinates (documents x dimension) held at once
_SETTLE_ENTRIES = 1 << 19  # float64 coordinates gathered at once for uncertain projections
_COUNTER_BYTES = 1 << 26  # what Faiss may reserve for its lists of candidates

_MAX_DIMENSION = 1 << 16  # keeps dimension x 2^-24 below 0.4%, which the slack below covers
_SLACK = 1.01  # covers the rounding of the norms and of the bounds themselves
_EXTRA_ROUNDINGS = 16  # beyond one per coordinate: that of W to float32, and those of a blocked product


def encode(vectors: NDArray[Any], bits: int, seed: int) -> NDArray[np.uint8]:
    """Phase-1 codes of ``vectors``.

    vectors: (document, dimension), float16 or float32, finite, no row all zero; any norm.
    bits: code length, a positive multiple of 8. seed: 0 … 2**32 - 1.
    Returns (document, bits // 8) uint8, the first bit in the most significant place of the first byte.
    Raises InvalidInput for anything else. Memory beyond input and output does not grow with the documents.
    """
    _check_vectors(vectors)
    if not _is_integer(bits) or bits < 8 or bits % 8:
        raise InvalidInput(f"bits: expected a positive multiple of 8, got {bits!r}")
    if not _is_integer(seed) or not 0 <= seed < 2**32:
        raise InvalidInput(f"seed: expected an integer in 0 … 2**32 - 1, got {seed!r}")
    documents, dimension = vectors.shape
    projection = _projection(int(bits), dimension, int(seed))
    projection32 = projection.astype(np.float32)
    norm = float(np.sqrt(np.vecdot(projection, projection).max()))
    codes = np.empty((documents, bits // 8), np.uint8)
    step = max(1, _BLOCK_ENTRIES // max(int(bits), dimension))
    with np.errstate(all="ignore"):  # float32 may overflow or underflow here; the bounds allow for it
        for start in range(0, documents, step):
            block = vectors[start : start + step]
            bounded, bounds = _bounded(block, norm, start)
            codes[start : start + step] = _block_codes(block, bounded, bounds, projection, projection32)
    return codes


def hamming_top_k(
    queries: NDArray[np.uint8], documents: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ``k`` documents nearest to each query by Hamming distance; ties go to the smaller row.

    queries: (query, byte) uint8. documents: (document, byte) uint8 with as many bytes, searched in place when
    contiguous and copied otherwise. k: 1 … the number of documents.
    Returns distances (query, k) int32 in bits and rows (query, k) int64, ascending by (distance, row).
    Raises InvalidInput for anything else.

    Faiss keeps, for each query, a list of rows per possible distance, filled in the order of the rows. It
    stops filling a list only once k rows at least as near and of smaller number are known, so reading the
    lists out by distance gives the order promised here.
    """
    for name, codes in (("queries", queries), ("documents", documents)):
        if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.ndim != 2:
            raise InvalidInput(f"{name}: expected a 2-D uint8 array of packed codes, got {_described(codes)}")
    width = documents.shape[1]
    if width == 0 or queries.shape[1] != width:
        raise InvalidInput(
            f"queries: expected codes as long as the documents' ({width} bytes), got {queries.shape[1]} bytes"
        )
    if not _is_integer(k) or not 1 <= k <= len(documents):
        raise InvalidInput(f"k: expected 1 … {len(documents)}, the number of documents, got {k!r}")
    slots = (8 * width + 1) * int(k)
    if slots >= 2**31:  # Faiss numbers the slots of its lists in 32 bits
        raise InvalidInput(f"k: at most {(2**31 - 1) // (8 * width + 1)} for codes of {width} bytes, got {k}")
    queries, documents = np.ascontiguousarray(queries), np.ascontiguousarray(documents)
    distances = np.empty((len(queries), k), np.int32)
    rows = np.empty((len(queries), k), np.int64)
    step = max(1, _COUNTER_BYTES // (8 * slots))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        faiss.hammings_knn_mc(
            faiss.swig_ptr(queries[part]),
            faiss.swig_ptr(documents),
            len(queries[part]),
            len(documents),
            int(k),
            width,
            faiss.swig_ptr(distances[part]),
            faiss.swig_ptr(rows[part]),
        )
    return distances, rows


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_vectors(vectors: NDArray[Any]) -> None:
    is_array = isinstance(vectors, np.ndarray) and vectors.ndim == 2
    if not is_array or vectors.dtype not in (np.float16, np.float32):
        raise InvalidInput(f"vectors: expected a 2-D float16 or float32 array, got {_described(vectors)}")
    if not 1 <= vectors.shape[1] <= _MAX_DIMENSION:
        raise InvalidInput(f"vectors: expected 1 … {_MAX_DIMENSION} dimensions, got {vectors.shape[1]}")


@lru_cache(maxsize=8)
def _projection(bits: int, dimension: int, seed: int) -> NDArray[np.float64]:
    """W, shape (bits, dimension); kept for callers that encode block by block with several seeds."""
    projection = np.random.RandomState(seed).standard_normal((bits, dimension))
    projection.flags.writeable = False
    return projection


def _rounding_share(dimension: int, unit: float) -> float:
    """Higham's gamma_n: the error of a sum of products, over the sum of their absolute values."""
    roundings = (dimension + _EXTRA_ROUNDINGS) * unit
    return roundings / (1 - roundings)


def _bounded(
    block: NDArray[Any], norm: float, first_row: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The rows in float32, and for each a bound on the error of its float32 product with a row of W.

    ``norm`` is the largest norm of a row of W. Rows whose squared norm is far from one are first multiplied
    by a power of two, so that neither product nor bound overflows and what underflows stays below the
    absolute term.
    """
    dimension = block.shape[1]
    rows = np.ascontiguousarray(block, np.float32)
    squares = np.vecdot(rows, rows)
    odd = np.flatnonzero(~((squares >= 2.0**-20) & (squares <= 2.0**20)))
    if len(odd):
        wide = block[odd].astype(np.float64)
        peaks = np.abs(wide).max(axis=1)
        faults = {"holds NaN or an infinity": ~np.isfinite(peaks), "is all zero": peaks == 0}
        for fault, refused in faults.items():
            if refused.any():
                row = first_row + int(odd[refused][0])
                raise InvalidInput(f"vectors: row {row} {fault}; mend or drop it before encoding")
        rows = rows.copy()  # it may be the caller's own array
        rows[odd] = np.ldexp(wide, -np.frexp(peaks)[1][:, None])
        squares[odd] = np.vecdot(rows[odd], rows[odd])
    share = _rounding_share(dimension, 2.0**-24)
    bounds = _SLACK * (share * norm * np.sqrt(squares.astype(np.float64)) + dimension * 2.0**-110)
    return rows, bounds.astype(np.float32)


def _block_codes(
    block: NDArray[Any],
    bounded: NDArray[np.float32],
    bounds: NDArray[np.float32],
    projection: NDArray[np.float64],
    projection32: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Packed signs of one block.

    Where "above the bound" and "not below minus the bound" agree the sign is known; the others are settled.
    """
    product = bounded @ projection32.T
    codes = np.packbits((product > bounds[:, None]).reshape(-1)).reshape(len(block), -1)
    possible = np.packbits((product >= -bounds[:, None]).reshape(-1)).reshape(len(block), -1)
    possible ^= codes
    row, byte = np.nonzero(possible)
    if len(row):
        uncertain = np.unpackbits(possible[row, byte][:, None], axis=1)
        which, place = np.nonzero(uncertain)
        uncertain[which, place] = _settle(block, row[which], projection, 8 * byte[which] + place)
        codes[row, byte] |= np.packbits(uncertain, axis=1)[:, 0]
    return codes


def _settle(
    vectors: NDArray[Any], rows: NDArray[np.intp], projection: NDArray[np.float64], columns: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether the exact sum of ``projection[columns[i]] * vectors[rows[i]]`` is positive, for each i.

    Products of a float32 and an entry of W stay far inside the range of float64: no scaling is needed here.
    """
    dimension = projection.shape[1]
    share = _SLACK * _rounding_share(dimension, 2.0**-53)
    positive = np.empty(len(rows), np.bool_)
    step = max(1, _SETTLE_ENTRIES // dimension)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        x, w = vectors[rows[part]].astype(np.float64), projection[columns[part]]
        sums = np.vecdot(x, w)
        bounds = share * np.sqrt(np.vecdot(x, x)) * np.sqrt(np.vecdot(w, w))
        positive[part] = sums > 0
        for i in np.flatnonzero(np.abs(sums) <= bounds):
            positive[start + i] = _exact_sum(x[i], w[i]) > 0
    return positive


def _exact_sum(x: NDArray[np.float64], w: NDArray[np.float64]) -> float:
    """The exactly rounded sum of w * x, for x with float32 values.

    Veltkamp's split of w leaves 26 bits in each part; a float32 has 24, so each partial product is exact.
    """
    scaled = w * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - w)
    low = w - high
    return math.fsum(np.concatenate((high * x, low * x)).tolist())
