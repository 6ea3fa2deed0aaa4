"""How fast texts are encoded, and what the locked study's embeddings cost: ``python -m benchmarks.encode``.

The three architectures have random weights: rates depend on sizes and lengths alone. Texts have the lengths of those at
hand, scaled to the mean length of each collection of the study. On CUDA half precision by autocast is compared with
float32; on a CPU so is INT8, quantised dynamically by torch and by ONNX Runtime, and for the smallest model bfloat16. A
trained model shows what that costs in quality. Sides take turns on the same texts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from analysis.quality.per_query import Judgements, gains, ndcg, overlap
from benchmarks._encoders import (
    ARCHITECTURES,
    PACKAGED,
    Architecture,
    Lengths,
    load,
    on,
    packaged,
    save_random,
    texts_at_hand,
    texts_of,
    with_int8_products,
)
from benchmarks._machine import FOLDER, ROOT, Side, Times, interleaved, write
from benchmarks._onnx import with_onnx_int8
from store.corpora.corpus import Corpus
from store.encoders.device import Device, choose_device
from store.encoders.sentence import SentenceEncoder
from store.encoders.tokens import padded_tokens, plan_batches
from store.search.inner_product import InnerProductTopK

FLOAT32, INT8, ONNX = "float32", "int8, torch", "int8, ONNX Runtime"
SLAB = 16384
BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Tokens of a batch: enough to keep the device (a thread of the CPU) busy, with padding below one in twenty."""
BATCHES = 2
"""At least so many a thread are timed, so that no thread waits for another for long."""
SWEPT_TOKENS = (2048, 8192, 32768, 65536, 131072)
SECONDS = {"cpu": 4.0, "cuda": 2.0}
"""About how long one side encodes, once."""
FEW = {"cpu": 2, "cuda": 512}
"""Texts that warm a side up."""
REPETITIONS = 2
QUALITY_DOCUMENTS = 100
K = 10
SUSTAINED_TFLOPS = 125.0
"""What the arithmetic of a GPU that is not here assumes: 40% of an A100's 312 TFLOP/s in half precision."""


@dataclass(frozen=True)
class Collection:
    """Documents of a collection in the locked study, and their mean words; None where the texts at hand are its own."""

    documents: int
    mean_words: float | None


STUDY = {
    # Mean words of a passage: the statistics of the BEIR benchmark.
    "msmarco": Collection(500_000, 56.0),
    "nq": Collection(500_000, 78.9),
    "scifact": Collection(5_183, 213.6),
}


def padding(lengths: NDArray[np.int64], budget: int) -> dict[str, float]:
    """Share of real tokens in the batches of slabs: sorted by length, and as many texts a batch drawn at random."""
    plan = plan_batches(lengths, budget)
    drawn = np.array_split(np.random.RandomState(0).permutation(len(lengths)), len(plan))
    real = float(lengths.sum())
    return {
        "sorted": round(real / float(padded_tokens(lengths, plan).sum()), 4),
        "random": round(real / float(padded_tokens(lengths, drawn).sum()), 4),
    }


def sides_of(base: SentenceEncoder, device: Device, folder: Path) -> dict[str, SentenceEncoder]:
    """The model in every precision that is compared, the first the base; ``folder`` is for what ONNX Runtime reads."""
    if device.kind == "cuda":
        return {FLOAT32: base, device.precision: on(base, device)}
    return {FLOAT32: base, INT8: with_int8_products(base), ONNX: with_onnx_int8(base, folder)}


def rates(times: Times, base: Times, texts: int, tokens: int) -> dict[str, float]:
    """Documents and tokens a second by wall time, and speed relative to the base in the same round."""
    ratios = [slow / fast for slow, fast in zip(base.wall, times.wall, strict=True)]
    processor = [slow / fast for slow, fast in zip(base.cpu, times.cpu, strict=True)]
    best = min(times.wall)
    return {
        "documents_per_s": round(texts / best, 2),
        "tokens_per_s": round(tokens / best, 1),
        "median_s": round(float(np.median(times.wall)), 3),
        "cpu_s": round(float(np.median(times.cpu)), 3),
        "speed": round(float(np.median(ratios)), 2),
        "speed_by_cpu_s": round(float(np.median(processor)), 2),
    }


def measure(
    of: Architecture, device: Device, lengths: Lengths, corpus: Corpus, seconds: float, folder: Path
) -> dict[str, Any]:
    """Figures of one architecture on texts of the first collection's lengths."""
    spec = save_random(folder / of.model, of)
    budget = BATCH_TOKENS[device.kind]
    base = load(spec, of.model, Device(device.kind, "float32"), budget)
    sides = sides_of(base, device, folder / of.model / "onnx")
    if device.kind == "cpu" and of is ARCHITECTURES[0]:
        # Once is enough to see whether this processor gains by it.
        sides["bfloat16"] = on(sides[FLOAT32], Device("cpu", "bfloat16"))
    drawn = lengths.draw(SLAB, STUDY["msmarco"].mean_words, of.max_tokens)
    texts = texts_of(drawn, corpus, lengths.tokens_per_word)
    # A few texts say how many take the time that there is.
    few = texts[: FEW[device.kind]]
    sides[FLOAT32].encode_documents(few)
    start = time.perf_counter()
    sides[FLOAT32].encode_documents(few)
    rate = len(few) / (time.perf_counter() - start)
    busy = BATCHES * budget * (torch.get_num_threads() if device.kind == "cpu" else 1)
    least = int(np.searchsorted(np.cumsum(drawn), busy)) + 1
    chosen = texts[: int(max(least, rate * seconds))]
    for encoder in sides.values():
        encoder.encode_documents(few)
    turns = {name: Side(partial(encoder.encode_documents, chosen)) for name, encoder in sides.items()}
    times = interleaved(turns, REPETITIONS)
    tokens = int(sides[FLOAT32]._tokenize(chosen, "").counts.sum())
    return {
        "layers": of.layers,
        "hidden": of.hidden,
        "documents": len(chosen),
        "tokens": tokens,
        "gflop_per_document": round(of.flops_per_token(tokens / len(chosen)) * tokens / len(chosen) / 1e9, 2),
        "sides": {name: rates(taken, times[FLOAT32], len(chosen), tokens) for name, taken in times.items()},
    }


def quality(device: Device, corpus: Corpus, batch_tokens: int, folder: Path) -> dict[str, Any]:
    """nDCG and the share of the nearest documents that a trained model keeps in another precision."""
    judged = corpus.judgements
    rows = np.unique(judged.document[judged.relevance > 0])[: QUALITY_DOCUMENTS // 3]
    others = np.setdiff1d(np.arange(len(corpus.document_ids)), rows)[: QUALITY_DOCUMENTS - len(rows)]
    rows = np.concatenate([rows, others])
    place = {int(row): at for at, row in enumerate(rows)}
    pairs = [
        (int(query), place[int(document)], int(relevance))
        for query, document, relevance in zip(judged.query, judged.document, judged.relevance, strict=True)
        if int(document) in place and relevance > 0
    ]
    queries = sorted({query for query, _, _ in pairs})
    kept = Judgements.sorted(
        np.array([queries.index(query) for query, _, _ in pairs], np.int64),
        np.array([document for _, document, _ in pairs], np.int64),
        np.array([relevance for _, _, relevance in pairs], np.int64),
        len(queries),
    )
    base = load(packaged(), PACKAGED, Device(device.kind, "float32"), batch_tokens)
    nearest, cosines = {}, {}
    exact = np.empty((0, 0), np.float32)
    for name, encoder in sides_of(base, device, folder).items():
        search = InnerProductTopK(
            encoder.encode_queries([corpus.query_texts[query] for query in queries]),
            K,
            np.full(len(queries), -1, np.int64),
        )
        vectors = encoder.encode_documents([corpus.document_texts[row] for row in rows])
        exact = vectors if name == FLOAT32 else exact
        cosines[name] = float((vectors * exact).sum(axis=1).mean())
        search.update(vectors, 0)
        nearest[name] = search.result().rows
    return {
        "model": "all-MiniLM-L6-v2, trained",
        "documents": len(rows),
        "queries": len(queries),
        "sides": {
            name: {
                f"ndcg_at_{K}": round(float(ndcg(gains(kept, found), kept, [K]).mean()), 4),
                f"overlap_at_{K}_with_float32": round(float(overlap(found, nearest[FLOAT32], [K]).mean()), 4),
                "mean_cosine_to_float32": round(cosines[name], 5),
            }
            for name, found in nearest.items()
        },
    }


def project_e1(lengths: Lengths, measured: Mapping[str, Mapping[str, Any]], device: Device) -> dict[str, Any]:
    """Hours that the documents of the locked study take at the measured rates, and by arithmetic on a GPU."""
    side = FLOAT32 if device.kind == "cpu" else device.precision
    cells: dict[str, Any] = {}
    for of in ARCHITECTURES:
        rate = measured[of.model]["sides"][side]["tokens_per_s"]
        # What padding cost is in the rate, and products with weights are nearly all of the work: a rate of tokens
        # holds for other lengths but for attention, which is corrected for.
        base = of.flops_per_token(measured[of.model]["tokens"] / measured[of.model]["documents"])
        for name, collection in STUDY.items():
            drawn = lengths.draw(SLAB, collection.mean_words, of.max_tokens)
            tokens = float(drawn.mean()) * collection.documents
            flops = sum(of.flops_per_token(length) * length for length in drawn) / SLAB
            cells[f"{of.model} × {name}"] = {
                "mean_tokens": round(float(drawn.mean()), 1),
                "tokens": round(tokens),
                "hours": round(tokens / rate * (flops / float(drawn.mean()) / base) / 3600, 3),
                "petaflop": round(flops * collection.documents / 1e15, 3),
            }
    petaflop = sum(cell["petaflop"] for cell in cells.values())
    return {
        "device": device.kind,
        "precision": side,
        "cells": cells,
        "hours": round(sum(cell["hours"] for cell in cells.values()), 2),
        "gpu_hours_measured": device.kind == "cuda",
        "petaflop": round(petaflop, 1),
        "gpu_hours_by_arithmetic": {
            "sustained_tflop_per_s": SUSTAINED_TFLOPS,
            "assumed": "40% of 312 TFLOP/s, an A100 in half precision; not measured",
            "hours": round(petaflop * 1e3 / SUSTAINED_TFLOPS / 3600, 2),
        },
    }


def print_table(figures: Mapping[str, Any]) -> None:
    """One line an architecture and side, then the padding and the projection."""
    print(f"{'':40}{'documents/s':>12}{'tokens/s':>10}{'× float32':>11}{'by CPU':>8}")
    for model, found in figures["architectures"].items():
        for name, side in found["sides"].items():
            print(
                f"{model:20}{name:20}{side['documents_per_s']:12.1f}{side['tokens_per_s']:10.0f}"
                f"{side['speed']:11.2f}{side['speed_by_cpu_s']:8.2f}"
            )
    for budget, shares in figures["padding"]["msmarco"].items():
        print(
            f"{budget:>8} tokens a batch: real tokens {shares['sorted']:.1%}, in random batches {shares['random']:.1%}"
        )
    for name, side in figures["quality"]["sides"].items():
        print(f"{name:20}" + ", ".join(f"{key} {value}" for key, value in side.items()))
    e1 = figures["e1"]
    arithmetic = e1["gpu_hours_by_arithmetic"]
    print(
        f"E1 here ({e1['device']}, {e1['precision']}): {e1['hours']} hours; {e1['petaflop']} PFLOP, "
        f"{arithmetic['hours']} hours at {arithmetic['sustained_tflop_per_s']:g} TFLOP/s"
    )


def main(arguments: list[str] | None = None, folder: Path = FOLDER, project: Path = ROOT) -> int:
    """Measure, print and write ``report/benchmarks/encode.json``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encode", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, help="about how long a side encodes, once")
    parser.add_argument("--note", default="", help="what else should be known of the figures")
    chosen = parser.parse_args(arguments)
    device = choose_device()
    seconds = SECONDS[device.kind] if chosen.seconds is None else chosen.seconds
    name, corpus = texts_at_hand(project)
    lengths = Lengths.of(corpus.document_texts)
    batch_tokens = BATCH_TOKENS[device.kind]
    with TemporaryDirectory() as temporary:
        measured = {
            of.model: measure(of, device, lengths, corpus, seconds, Path(temporary)) for of in ARCHITECTURES
        }
        kept = quality(device, corpus, batch_tokens, Path(temporary) / "quality")
    figures: dict[str, Any] = {
        "note": chosen.note,
        "device": device.conditions() | {"kind": device.kind},
        "threads": torch.get_num_threads(),
        "versions": {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__},
        "batch_tokens": batch_tokens,
        "weights": "random, but for `quality`",
        "lengths": {
            "texts_at_hand": name,
            "tokens_per_word": round(lengths.tokens_per_word, 3),
            "mean_tokens": round(float(lengths.tokens.mean()), 1),
            "assumed": "the lengths of the texts at hand, scaled to each collection's mean words and cut at max_tokens",
            "mean_words": {name: collection.mean_words for name, collection in STUDY.items()},
        },
        "architectures": measured,
        "padding": {
            name: {
                str(budget): padding(lengths.draw(SLAB, collection.mean_words, 512), budget)
                for budget in SWEPT_TOKENS
            }
            for name, collection in STUDY.items()
        },
        "quality": kept,
        "e1": project_e1(lengths, measured, device),
    }
    print_table(figures)
    write("encode", figures, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
