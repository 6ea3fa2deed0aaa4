"""E2: Phase-1 codes of a cell's documents and queries, one code of the longest length per seed."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint
from pydantic import field_validator

from pipeline.executors import open_engine
from pipeline.growth import code_digest, earlier
from pipeline.stage import CELL, Run, Section, Stage
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.codecs import phase1
from store.leaf import digest
from store.leaf.growth import Block, array_blocks, grow
from store.leaf.reading import Leaf
from store.progress import Progress
from store.threads import rows_in_threads

STAGE = Stage(name="binarize", per=CELL, section="binarize", reads=(EMBEDDINGS,), writes=(BINARY_CODES,))

PART_ROWS = 1 << 15
"""Vectors that one thread encodes at a time."""

Seed = Annotated[int, Constraint(ge=0, lt=2**31)]


class Params(Section):
    """``bits`` are the code lengths that are searched; ``seeds`` those of the projections."""

    bits: Annotated[tuple[int, ...], Constraint(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Constraint(min_length=1)]

    @field_validator("bits")
    @classmethod
    def _whole_bytes(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        for length in bits:
            if length < 8 or length % 8:
                raise ValueError(f"{length} is not a positive multiple of 8")
        if sorted(set(bits)) != list(bits):
            raise ValueError("lengths must be ascending and distinct")
        return bits

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds must be distinct")
        return seeds


def run(run: Run[Params]) -> None:
    """Encode every vector once per seed; shorter codes are prefixes of what is stored."""
    embeddings = run.open(EMBEDDINGS)
    longest, seeds = max(run.params.bits), run.params.seeds
    recipe = digest.of_settings(code=code_digest(phase1.__name__), bits=longest, seeds=seeds)
    before = earlier(run, BINARY_CODES)
    with open_engine() as engine, run.commit(BINARY_CODES) as leaf:
        total = len(seeds) * sum(embeddings.size(axis) for axis in ("document", "query"))
        progress = Progress(f"encode to {longest} bits", total, "vectors")
        for side, axis in (("documents", "document"), ("queries", "query")):
            grow(
                leaf,
                before,
                f"phase1/{side}",
                (len(seeds), embeddings.size(axis), longest // 8),
                recipe,
                array_blocks(embeddings, side, engine.in_order),
                partial(_encoded, embeddings, side, longest, seeds),
                progress.advance,
                engine.in_order,
            )
        leaf.write("phase1/seed", np.array(seeds, np.int32))
        leaf.describe_group("phase1", bits=list(run.params.bits))
        leaf.describe(**run.keys)
    run.say(f"{len(seeds)} codes of {longest} bits a vector")


def _encoded(
    embeddings: Leaf, side: str, bits: int, seeds: Sequence[int], block: Block, index: int
) -> NDArray[np.uint8]:
    """Codes of a block of vectors by the projection of an index."""
    vectors = embeddings.read(side, block.slice)
    # By parts, since between its matrix products the engine computes with one thread.
    return rows_in_threads(lambda rows: phase1.encode(rows, bits, seeds[index]), vectors, PART_ROWS)
