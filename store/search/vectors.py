"""What vectors and codes look like: checks of what callers give, and blocks of rows that bound working memory."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidInput

Floats: TypeAlias = NDArray[np.float16] | NDArray[np.float32]


def checked_matrix(vectors: Floats, field: str) -> Floats:
    """The vectors; InvalidInput for anything but (rows, dimension) float16 or float32 with at least one dimension."""
    if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32) or vectors.shape[1] == 0:
        raise InvalidInput(
            f"{field} have shape {vectors.shape} and dtype {vectors.dtype}: "
            "give (rows, dimension) in float16 or float32"
        )
    return vectors


def check_vectors(vectors: NDArray[Any], dimension: int | None = None) -> None:
    """Refuse anything but finite (rows, dimension) float16 or float32 vectors, naming the first bad row."""
    checked_matrix(vectors, "vectors")
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
