"""Tokens of texts, and batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = dict[str, Any]
"""What a model takes: tensors (texts, tokens) by name, and settings that hold for all of them."""


@dataclass(frozen=True)
class Tokens:
    """What a tokenizer makes of texts, without padding.

    ``rows[i]`` holds for each name the values of text i, one a token; ``settings`` is what is no tensor.
    """

    rows: Sequence[Mapping[str, NDArray[np.int32]]]
    settings: Mapping[str, Any]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of tokens of each text, prefix and special tokens included."""
        return np.array([len(row["attention_mask"]) for row in self.rows], np.int64)

    def batch(self, rows: NDArray[np.int64], padding: Mapping[str, int], side: str) -> Features:
        """The features of some texts, filled up to the longest with ``padding`` (else 0) on one ``side``."""
        import torch

        chosen = [self.rows[row] for row in rows]
        width = max(len(row["attention_mask"]) for row in chosen)
        features: Features = dict(self.settings)
        for name in chosen[0]:
            filled = np.full((len(chosen), width), padding.get(name, 0), np.int64)
            for target, row in zip(filled, chosen, strict=True):
                held = len(row[name])
                target[slice(width - held, None) if side == "left" else slice(held)] = row[name]
            features[name] = torch.from_numpy(filled)
        return features


def without_padding(features: Features) -> Tokens:
    """The tokens of padded features, as a model's preprocessing gives them."""
    import torch

    tensors = {name: value.numpy() for name, value in features.items() if isinstance(value, torch.Tensor)}
    real = tensors["attention_mask"].astype(bool)
    rows = [
        {name: values[row, real[row]].astype(np.int32) for name, values in tensors.items()}
        for row in range(len(real))
    ]
    return Tokens(rows, {name: value for name, value in features.items() if name not in tensors})


def plan_batches(counts: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, longest texts first, ties by row; a batch holds at most ``budget`` tokens with padding.

    A text longer than the budget is a batch of its own.
    """
    order = np.argsort(-counts, kind="stable")
    plan, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(counts[order[start]])))
        plan.append(order[start : start + size])
        start += size
    return plan


def padded_tokens(counts: NDArray[np.int64], plan: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Tokens of each batch of a plan, padding counted."""
    return np.array([len(rows) * counts[rows].max() for rows in plan], np.int64)
