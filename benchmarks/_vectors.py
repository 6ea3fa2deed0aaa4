"""Vectors of any number with the spectrum of real ones: mixtures of a study's stored embeddings, plus noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._machine import ROOT
from store.artifacts.embeddings import EMBEDDINGS
from store.errors import BitlakeError
from store.layout import Layout
from store.leaf.reading import BLOCK_BYTES, open_leaf
from store.search.neighbours import Neighbours, TopK

CELL = {"model": "all-MiniLM-L6-v2", "dataset": "pydata-api"}
BLOCK = 1 << 16
_NOISE = 0.5
"""Of the standard deviation of each coordinate."""

Vectors = NDArray[np.float16]


def stored(root: Path = ROOT) -> NDArray[np.float32]:
    """The document vectors of `CELL`; raises `SystemExit` where the study has not been computed or pulled."""
    try:
        leaf = open_leaf(Layout(root).leaf("embeddings", CELL), EMBEDDINGS)
        return np.asarray(leaf.read("documents"), dtype=np.float32)
    except BitlakeError as error:
        raise SystemExit(f"{error}; compute the study first: `make repro`, or `dvc pull`") from None


def mixtures(base: NDArray[np.float32], rows: int, seed: int) -> Iterator[tuple[int, Vectors]]:
    """Consecutive rows as ``(first_row, vectors)``: float16, of length 1, each between two drawn rows of ``base``."""
    spread = _NOISE * base.std(axis=0)
    for first in range(0, rows, BLOCK):
        # One seed for each block, so that collections of different sizes share blocks.
        draw = np.random.default_rng((seed, first))
        count = min(BLOCK, rows - first)
        share = draw.random((count, 1), np.float32)
        one, other = base[draw.integers(len(base), size=(2, count))]
        drawn = share * one + (1 - share) * other
        drawn += spread * draw.standard_normal(drawn.shape, np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        yield first, drawn.astype(np.float16)


def drawn(base: NDArray[np.float32], rows: int, seed: int) -> Vectors:
    """All rows of `mixtures` at once."""
    return np.concatenate([block for _, block in mixtures(base, rows, seed)])


def fed(top: TopK, codes: NDArray[Any]) -> Neighbours:
    """What a search finds in codes, given in blocks of the size in which the lake reads them."""
    rows = BLOCK_BYTES // (codes.itemsize * codes.shape[1])
    for first in range(0, len(codes), rows):
        top.update(codes[first : first + rows], first)
    return top.result()


def random_codes(rows: int, width: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Consecutive rows of uniformly drawn bytes."""
    for first in range(0, rows, BLOCK):
        draw = np.random.default_rng((width, first))
        yield first, draw.integers(0, 256, (min(BLOCK, rows - first), width), np.uint8)
