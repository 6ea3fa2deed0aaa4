"""E3: PQ and INT8 codes of a cell's documents, with the state that was fitted on a seeded sample of them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import faiss
import numpy as np
from pydantic import Field as Constraint

from stages.stage import CELL, Progress, Run, Section, Stage
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.codecs.base import Codec, Floats, State
from store.codecs.product import PQCodec
from store.codecs.scalar import Int8Codec
from store.configuration import NO_SEED

STAGE = Stage(name="quantize", per=CELL, section="quantize", reads=(EMBEDDINGS,), writes=(QUANTIZED_CODES,))

Positive = Annotated[int, Constraint(ge=1)]
Seed = Annotated[int, Constraint(ge=0, lt=2**31)]


class ProductQuantization(Section):
    """``bytes`` are the sizes of a code, ``seeds`` and ``iterations`` those of the k-means."""

    bytes: Annotated[tuple[Positive, ...], Constraint(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Constraint(min_length=1)]
    iterations: Positive


class Params(Section):
    """At most ``fit_sample`` documents, drawn by ``fit_seed``, are fitted on."""

    fit_sample: Positive
    fit_seed: Seed
    pq: ProductQuantization


def run(run: Run[Params]) -> None:
    """Fit each codec on the sample, then encode every document from what was fitted alone."""
    embeddings = run.open(EMBEDDINGS)
    n = embeddings.size("document")
    chosen = np.sort(np.random.RandomState(run.params.fit_seed).permutation(n)[: run.params.fit_sample])
    sample = embeddings.array("documents").oindex[chosen]
    pq = run.params.pq
    groups: dict[str, Sequence[Codec]] = {
        f"pq-{size}": [PQCodec(size, seed, pq.iterations) for seed in pq.seeds] for size in pq.bytes
    }
    groups["int8"] = [Int8Codec()]
    fitted = _fit([codec for codecs in groups.values() for codec in codecs], sample)
    progress = Progress("encode", sum(map(len, groups.values())) * n, "codes")
    with run.commit(QUANTIZED_CODES) as leaf:
        for name, codecs in groups.items():
            states = [fitted[codec] for codec in codecs]
            for key in states[0]:
                leaf.write(f"{name}/{key}", np.stack([state[key] for state in states]))
            width = codecs[0].bytes_per_vector(embeddings.size("dimension"))
            codes = leaf.create(f"{name}/documents", (len(codecs), n, width))
            for index, (codec, state) in enumerate(zip(codecs, states, strict=True)):
                blocks = (codec.encode(state, block) for _, block in embeddings.blocks("documents"))
                leaf.fill(codes, progress.watch(blocks), index)
            leaf.write(
                f"{name}/seed", np.array([getattr(codec, "seed", NO_SEED) for codec in codecs], np.int32)
            )
            leaf.describe_group(name, codec=codecs[0].name)
        leaf.describe(**run.keys, fit_rows=len(chosen))
    run.say(f"{', '.join(groups)}, fitted on {len(chosen)} documents")


def _fit(codecs: Sequence[Codec], sample: Floats) -> dict[Codec, State]:
    """Fit every codec on the same sample, one thread each.

    Many small k-means gain nothing from threads of their own, and one thread a fit makes codebooks that do not
    depend on the number of threads.
    """

    def fit(codec: Codec) -> State:
        faiss.omp_set_num_threads(1)
        return codec.fit(sample)

    progress = Progress("fit", len(codecs), "codecs")
    fitted = {}
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for codec, state in zip(codecs, pool.map(fit, codecs), strict=True):
            fitted[codec] = state
            progress.advance(1)
    return fitted
