"""Encoding a cell: every codec of a section, fitted on a sample, then every vector from what was fitted alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cells.codes import LENGTHS, description
from pipeline.cells.settings import Encoding, Fitting
from pipeline.executors import Engine, open_engine
from pipeline.growth import code_digest, earlier
from pipeline.stage import Run
from store.artifacts.codes import CodesSchema
from store.artifacts.configuration import NO_SEED
from store.artifacts.embeddings import EMBEDDINGS
from store.codecs.base import Codec, State, has_prefixes
from store.codecs.settings import SEED, Group
from store.errors import InvalidInput
from store.leaf import digest
from store.leaf.growth import Block, array_blocks, grow
from store.leaf.reading import Leaf
from store.progress import Progress
from store.search.vectors import Floats
from store.threads import cores, rows_in_threads, side_by_side

PART_ROWS = 1 << 15
"""Vectors that one thread encodes at a time."""

_SIDES = {"documents": "document", "queries": "query"}
"""The dimension of their rows, by what is encoded."""


def encode(run: Run[Any], schema: CodesSchema) -> None:
    """Commit the codes of the cell by every codec of the run's section, an `Encoding`."""
    with open_engine() as engine:
        _encode(run, schema, engine)


def draw_sample(embeddings: Leaf, size: int, seed: int) -> NDArray[Any]:
    """At most ``size`` documents of a cell, drawn without replacement, in the order of their rows."""
    drawn = np.random.RandomState(seed).permutation(embeddings.size("document"))[:size]
    return embeddings.read("documents", np.sort(drawn))


def _encode(run: Run[Encoding], schema: CodesSchema, engine: Engine) -> None:
    embeddings, groups = run.open(EMBEDDINGS), dict(_stored(run.params))
    every = [(group, codec) for group in groups for codec in group.codecs]
    fit_rows, fitted = 0, list[State]({} for _ in every)
    if isinstance(run.params, Fitting):
        sample = draw_sample(embeddings, run.params.fit_sample, run.params.fit_seed)
        fit = partial(_fitted, f"{run.stage.section}.codecs", sample)
        fit_rows, fitted = len(sample), list(side_by_side(fit, every, "fit", cores()))
    states = iter(fitted)
    sides = [side for side in _SIDES if f"*/{side}" in schema.fields]
    blocks = {side: array_blocks(embeddings, side, engine.in_order) for side in sides}
    rows = sum(block.rows for of_side in blocks.values() for block in of_side)
    progress = Progress("encode", len(every) * rows, "codes")
    before = earlier(run, schema)
    with run.commit(schema) as leaf:
        for group, lengths in groups.items():
            codecs, own = group.codecs, [next(states) for _ in group.codecs]
            attributes = description(group.key, codecs[0], lengths)
            seeds = [getattr(codec, SEED, NO_SEED) for codec in codecs]
            # Where the sample changed as the collection grew, so does the state, and no code is taken over.
            recipe = digest.of_settings(
                code=code_digest(type(codecs[0]).__module__),
                settings=attributes["settings"],
                seeds=seeds,
                states=[digest.of_arrays(state) for state in own],
            )
            for name in codecs[0].STATE:
                leaf.write(f"{group.name}/{name}", np.stack([state[name] for state in own]))
            width = codecs[0].bytes_per_vector(embeddings.size("dimension"))
            for side in sides:
                grow(
                    leaf,
                    before,
                    f"{group.name}/{side}",
                    (len(codecs), embeddings.size(_SIDES[side]), width),
                    recipe,
                    blocks[side],
                    partial(_encoded, embeddings, side, codecs, own),
                    progress.advance,
                    engine.in_order,
                )
            leaf.write(f"{group.name}/seed", np.array(seeds, np.int32))
            leaf.describe_group(group.name, **attributes)
        leaf.describe(**run.keys, fit_rows=fit_rows)
    fits = f", fitted on {fit_rows} documents" if fit_rows else ""
    run.say(f"{len(every)} codes a vector{fits}")


def _stored(params: Encoding) -> Iterator[tuple[Group, list[int]]]:
    """What is stored: each group, or for all lengths of a codec the longest alone, with the lengths that it serves."""
    for key, of_codec in params.codecs.items():
        if has_prefixes(of_codec[0].codecs[0]):
            lengths = sorted(getattr(group.codecs[0], LENGTHS) for group in of_codec)
            longest = max(of_codec, key=lambda group: getattr(group.codecs[0], LENGTHS))
            yield replace(longest, name=key), lengths
        else:
            yield from ((group, []) for group in of_codec)


def _fitted(where: str, sample: Floats, one: tuple[Group, Codec]) -> State:
    group, codec = one
    try:
        return codec.fit(sample)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{group.key}: {error}") from None


def _encoded(
    embeddings: Leaf, side: str, codecs: Sequence[Codec], states: Sequence[State], block: Block, index: int
) -> NDArray[Any]:
    """Codes of a block of vectors by the codec of an index."""
    vectors = embeddings.read(side, block.slice)
    return rows_in_threads(lambda rows: codecs[index].encode(states[index], rows), vectors, PART_ROWS)
