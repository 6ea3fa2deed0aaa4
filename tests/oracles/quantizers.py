"""Slow learned codecs: exact products, the alternation of ITQ, greedy residuals, RaBitQ by the letter of its paper."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from tests.oracles.search import exact_score, folded_score


def exact_product(vectors: NDArray[Any], matrix: NDArray[Any]) -> list[list[Fraction]]:
    """vectors @ matrix as the rational numbers that it is made of."""
    return [[exact_score(row, column) for column in matrix.T] for row in vectors]


def itq_losses(projected: NDArray[np.float64], rotation: NDArray[np.float64], iterations: int) -> list[float]:
    """Loss |B - V R|^2 before the first and after each iteration of Gong & Lazebnik (2011, section 2.2).

    projected: V, (documents, bits), centred. rotation: R, (bits, bits), where to start.
    """
    losses = [quantization_loss(projected @ rotation)]
    for _ in range(iterations):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        rotation = np.asarray(orthogonal_procrustes(projected, signs)[0], dtype=np.float64)
        losses.append(quantization_loss(projected @ rotation))
    return losses


def quantization_loss(rotated: NDArray[np.float64]) -> float:
    """Squared distance of all rows from the corners of the cube [-1, 1]^bits next to them."""
    return float(np.square(np.abs(rotated) - 1).sum())


def greedy_codes(vectors: NDArray[Any], codebooks: NDArray[Any]) -> list[list[int]]:
    """At each stage the first centroid of least distance from what earlier stages left, kept in float32."""
    codes = []
    for row in vectors.astype(np.float32):
        code = []
        for codebook in codebooks.astype(np.float32):
            differences = row.astype(np.float64) - codebook
            distances = [folded_score(difference, difference) for difference in differences]
            code.append(distances.index(min(distances)))
            row = row - codebook[code[-1]]
        codes.append(code)
    return codes


def rabitq_estimate(
    query: NDArray[Any], document: NDArray[Any], center: NDArray[Any], rotation: NDArray[Any]
) -> tuple[float, float]:
    """RaBitQ's estimates of the squared distance and of the inner product (Gao & Long 2024, section 3).

    rotation: P, (dimension, dimension). With the names of the paper: o and q are the normalised residuals, x-bar
    the signs of P'o on the unit sphere, o-bar = P x-bar, and <o, q> is estimated by <o-bar, q> / <o-bar, o>.
    """
    o_r, q_r, c, P = (np.asarray(array, dtype=np.float64) for array in (document, query, center, rotation))
    o_length, q_length = np.linalg.norm(o_r - c), np.linalg.norm(q_r - c)
    if o_length == 0 or q_length == 0:
        return float(o_length**2 + q_length**2), float(q_r @ c + o_r @ c - c @ c)
    o, q = (o_r - c) / o_length, (q_r - c) / q_length
    x_bar = np.where(P.T @ o > 0, 1, -1) / np.sqrt(len(c))
    o_bar = P @ x_bar
    cosine = (o_bar @ q) / (o_bar @ o)
    distance = o_length**2 + q_length**2 - 2 * o_length * q_length * cosine
    return float(distance), float((o_r @ o_r + q_r @ q_r - distance) / 2)
