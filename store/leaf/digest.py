"""Digests of what a value was made from: SHA-256 in hexadecimal, over bytes that no two contents share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_settings(**settings: Any) -> str:
    """Digest of plain JSON values by name."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """Digest of texts in order; each is preceded by its length, so none runs into the next."""
    sha = hashlib.sha256()
    for text in texts:
        content = text.encode()
        sha.update(len(content).to_bytes(8, "little"))
        sha.update(content)
    return sha.hexdigest()


def of_array(array: NDArray[Any]) -> str:
    """Digest of an array's dtype, shape and values."""
    values = np.ascontiguousarray(array)
    sha = hashlib.sha256(f"{values.dtype.str} {values.shape} ".encode())
    sha.update(values.data.cast("B") if values.size else b"")
    return sha.hexdigest()


def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Digest of named arrays."""
    return of_settings(**{name: of_array(array) for name, array in arrays.items()})
