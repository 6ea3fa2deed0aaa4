"""The documents that codecs are fitted on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.leaf.reading import Leaf


def draw_sample(embeddings: Leaf, size: int, seed: int) -> NDArray[Any]:
    """At most ``size`` documents of a cell, drawn without replacement, in the order of their rows."""
    drawn = np.random.RandomState(seed).permutation(embeddings.size("document"))[:size]
    return embeddings.read("documents", np.sort(drawn))
