"""k-means by plain loops over whole numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def lloyd(
    rows: list[list[int]], start: list[list[int]], iterations: int, random: np.random.RandomState
) -> tuple[list[list[int]], list[int]]:
    """Centroids after so many iterations, and the code of each row in the last of them.

    A row goes to its nearest centroid, of equal ones the first; a centroid to the mean of its rows, rounded half to
    even; one without rows to a row drawn with its squared distance from its centroid as weight.
    """
    centroids = start
    codes: list[int] = []
    for _ in range(iterations):
        distances = [
            [sum((a - b) ** 2 for a, b in zip(row, c, strict=True)) for c in centroids] for row in rows
        ]
        codes = [each.index(min(each)) for each in distances]
        nearest = [min(each) for each in distances]
        empty = [c for c in range(len(centroids)) if c not in codes]
        moved = list(centroids)
        for c in set(codes):
            members = [row for row, code in zip(rows, codes, strict=True) if code == c]
            moved[c] = [round(Fraction(sum(column), len(members))) for column in zip(*members, strict=True)]
        if empty and sum(nearest):
            for c, share in zip(empty, random.random_sample(len(empty)), strict=True):
                moved[c] = next(
                    row for i, row in enumerate(rows) if sum(nearest[: i + 1]) > share * sum(nearest)
                )
        centroids = moved
    return centroids, codes
