"""E3: PQ and INT8 codes of a cell's documents, with the state that was fitted on a seeded sample of them."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Constraint

from pipeline.executors import Engine, open_engine
from pipeline.growth import code_digest, earlier
from pipeline.sample import draw_sample
from pipeline.stage import CELL, Run, Section, Stage
from pipeline.stored_codes import description
from store.artifacts.configuration import NO_SEED
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.base import Codec, State
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.leaf import digest
from store.leaf.growth import Block, array_blocks, grow
from store.leaf.reading import Leaf
from store.progress import Progress
from store.threads import cores, side_by_side

STAGE = Stage(name="quantize", per=CELL, section="quantize", reads=(EMBEDDINGS,), writes=(QUANTIZED_CODES,))

Positive = Annotated[int, Constraint(ge=1)]
Seed = Annotated[int, Constraint(ge=0, lt=2**31)]


class ProductQuantization(Section):
    """``bytes`` are the sizes of a code, none to leave PQ out; ``seeds`` and ``iterations`` those of the k-means."""

    bytes: tuple[Positive, ...]
    seeds: Annotated[tuple[Seed, ...], Constraint(min_length=1)]
    iterations: Positive


class Params(Section):
    """At most ``fit_sample`` documents, drawn by ``fit_seed``, are fitted on."""

    fit_sample: Positive
    fit_seed: Seed
    pq: ProductQuantization


def run(run: Run[Params]) -> None:
    """Fit each codec on the sample, then encode every document from what was fitted alone."""
    with open_engine() as engine:
        _run(run, engine)


def _run(run: Run[Params], engine: Engine) -> None:
    embeddings = run.open(EMBEDDINGS)
    n = embeddings.size("document")
    sample = draw_sample(embeddings, run.params.fit_sample, run.params.fit_seed)
    pq = run.params.pq
    groups: dict[str, Sequence[Codec]] = {
        f"pq-{size}": [PQCodec(size, seed, pq.iterations) for seed in pq.seeds] for size in pq.bytes
    }
    groups["int8"] = [Int8Codec()]
    every = [codec for codecs in groups.values() for codec in codecs]
    fits = list(side_by_side(lambda codec: codec.fit(sample), every, "fit", cores()))
    fitted = dict(zip(every, fits, strict=True))
    progress = Progress("encode", sum(map(len, groups.values())) * n, "codes")
    blocks = array_blocks(embeddings, "documents", engine.in_order)
    before = earlier(run, QUANTIZED_CODES)
    with run.commit(QUANTIZED_CODES) as leaf:
        for name, codecs in groups.items():
            states = [fitted[codec] for codec in codecs]
            for key in states[0]:
                leaf.write(f"{name}/{key}", np.stack([state[key] for state in states]))
            width = codecs[0].bytes_per_vector(embeddings.size("dimension"))
            grow(
                leaf,
                before,
                f"{name}/documents",
                (len(codecs), n, width),
                # Where the sample changed as the collection grew, so does the state, and no code is taken over.
                digest.of_settings(
                    code=code_digest(type(codecs[0]).__module__),
                    states=[digest.of_arrays(state) for state in states],
                ),
                blocks,
                partial(_encoded, embeddings, codecs, states),
                progress.advance,
                engine.in_order,
            )
            leaf.write(
                f"{name}/seed", np.array([getattr(codec, "seed", NO_SEED) for codec in codecs], np.int32)
            )
            leaf.describe_group(name, **description(codecs[0].name, codecs[0]))
        leaf.describe(**run.keys, fit_rows=len(sample))
    run.say(f"{', '.join(groups)}, fitted on {len(sample)} documents")


def _encoded(
    embeddings: Leaf, codecs: Sequence[Codec], states: Sequence[State], block: Block, index: int
) -> NDArray[Any]:
    """Codes of a block of documents by the codec of an index."""
    return codecs[index].encode(states[index], embeddings.read("documents", block.slice))
