"""Digests of what the stages after `embed` compute: ``python -m tests.stages.any_processor ROWS DIMENSION``."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from analysis.geometry.cell import GeometrySettings, measure
from analysis.intervals.simultaneous import Member, compare_family
from analysis.relation.points import RelationSettings
from analysis.relation.relate import relate
from analysis.report.tables import csv_text
from analysis.theory.prediction import Cut, predict
from store.codecs.registry import CODECS
from store.codecs.settings import build

SETTINGS: dict[str, int] = {"code_bytes": 8, "bits": 16, "dimensions": 16, "seed": 1, "iterations": 6}
"""Of every codec: those of them that it has."""


def cell(rows: int, dimension: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Documents and queries as models give them: off-centre, of a graded spectrum, with a dominant dimension, copies,
    and rows that lie between others."""
    draw = np.random.RandomState(0)
    spread = np.geomspace(1, 0.05, dimension)
    drawn = draw.standard_normal((rows + rows // 2, dimension)) * spread
    drawn = drawn @ np.linalg.qr(draw.standard_normal((dimension, dimension)))[0] + 0.3
    drawn[:, 3] += 2
    drawn[5::29] = drawn[5]
    drawn[6::31] = (drawn[7] + drawn[8]) / 2
    # Whatever machine drew them: multiples of 1/64 are far coarser than its rounding.
    unit = (
        np.rint(64 * drawn / np.sqrt(np.square(drawn).sum(axis=1, keepdims=True)) * np.sqrt(dimension)) / 64
    )
    vectors = (unit / np.sqrt(np.square(unit).sum(axis=1, keepdims=True))).astype(np.float16)
    return vectors[:rows], vectors[rows:]


def codecs(documents: NDArray[np.float16], queries: NDArray[np.float16]) -> Iterator[tuple[str, str]]:
    """Each codec's state, its codes, and the neighbours found with them."""
    for key, kind in CODECS.items():
        fields: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
        codec = build(kind, {field.name: SETTINGS[field.name] for field in fields})
        state = codec.fit(documents)
        codes = codec.encode(state, documents)
        top = codec.search(state, queries, 10)
        top.update(codes, 0)
        found = top.result()
        for name, array in {**state, "codes": codes, "rows": found.rows, "scores": found.scores}.items():
            yield f"{key} {name}", _digest(array.tobytes())


def geometry(documents: NDArray[np.float16], queries: NDArray[np.float16]) -> Iterator[tuple[str, str]]:
    """Each measure with its interval."""
    settings = GeometrySettings(
        sample=len(documents), query_sample=len(queries), seed=0, draws=5, confidence=0.95, hubness_k=10,
        mle_neighbours=20, twonn_discard=0.1, outlier_cut=3.0, projections=64, margin_near=0.1,
    )  # fmt: skip
    for name, estimate in measure(documents, queries, settings).items():
        yield f"geometry {name}", repr(estimate)


def predictions(documents: NDArray[np.float16], queries: NDArray[np.float16]) -> Iterator[tuple[str, str]]:
    """Overlap of a search and of one that is re-scored, by the closed form."""
    found = predict(documents, queries, (16, 64), (Cut(1, 1), Cut(10, 10), Cut(10, 50)))
    yield "prediction", _digest(found.overlap.tobytes())


def tables() -> Iterator[tuple[str, str]]:
    """The table of the relation and a family of differences, of 9 cells at 4 lengths."""
    draw = np.random.RandomState(1)
    features = {f"f{i}": draw.random_sample(9) for i in range(8)}
    quality = (
        0.2 + 0.1 * np.arange(4) + 0.1 * features["f1"][:, np.newaxis] + 0.02 * draw.random_sample((9, 4))
    )
    points = xr.Dataset(
        {
            **{name: ("cell", values, {"role": "feature"}) for name, values in features.items()},
            "recall@10": (("cell", "bits"), quality, {"role": "target"}),
        },
        coords={
            "model": ("cell", np.repeat(["a", "b", "c"], 3)),
            "dataset": ("cell", np.tile(["x", "y", "z"], 3)),
            "bits": [64, 128, 256, 512],
        },
    )
    settings = RelationSettings(500, 500, "rademacher", 0, (0.01, 0.1, 1.0), 0.95)
    yield "relation", _digest(csv_text(relate(points, settings)).encode())
    hits = draw.randint(0, 11, (4, 2, 3, 200)) / 10
    members = [Member(first, second, "queries", "pool") for first, second in hits]
    family = compare_family(members, draws=2000, seed=0, confidence=0.95)
    yield "family", repr([np.round(array, 6).tolist() for array in (*family.difference, *family[1:2])])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main(rows: int, dimension: int) -> None:
    """Print name and digest of everything."""
    documents, queries = cell(rows, dimension)
    for found in (
        codecs(documents, queries),
        geometry(documents, queries),
        predictions(documents, queries),
        tables(),
    ):
        for name, value in found:
            print(name, value, sep="\t", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
