"""What a collection of another size takes: bytes, transfers and hours, by proportion from measured rates.

Every figure is linear in documents: all searches are exhaustive, and every other stage passes over its input once.
Hours are those of the machine on which the rates were measured; blocks are independent, so that M machines take an M-th
of them, as long as the storage can feed them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from store.errors import InvalidInput

SIZES = (10_000_000, 100_000_000, 1_000_000_000)
LINES = (1, 10, 100)
"""Gbit/s of the lines over which transfers are reckoned."""
QUERIES = 1_000
SHARD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Rates:
    """What was measured on one machine.

    ``encoded`` documents a second by model and ``device``, where; ``read`` and ``written`` bytes a second of the lake;
    ``coded`` documents a second by codec; ``compared`` pairs of a query and a document a second by representation,
    all of vectors of ``dimension``.
    """

    dimension: int
    device: str
    encoded: Mapping[str, float]
    read: float
    written: float
    coded: Mapping[str, float]
    compared: Mapping[str, float]

    def __post_init__(self) -> None:
        named = {
            **{f"encoded.{name}": rate for name, rate in self.encoded.items()},
            **{f"coded.{name}": rate for name, rate in self.coded.items()},
            **{f"compared.{name}": rate for name, rate in self.compared.items()},
            "read": self.read,
            "written": self.written,
            "dimension": self.dimension,
        }
        for name, rate in named.items():
            if not 0 < rate < float("inf"):
                raise InvalidInput(f"{name} is {rate}: measure it again, a rate is above zero and finite")


def bytes_of(dimension: int) -> dict[str, int]:
    """Bytes of a vector in each representation that the core stores."""
    return {
        "float16 vectors": 2 * dimension,
        "INT8 codes": dimension,
        "PQ codes, 32 bytes": 32,
        "Phase-1 codes, 512 bits": 64,
        "Phase-1 codes, 256 bits": 32,
        "Phase-1 codes, 64 bits": 8,
    }


def tables(rates: Rates, sizes: Sequence[int] = SIZES) -> str:
    """Three tables in Markdown: bytes at rest, transfers of the vectors, and hours."""
    stored = bytes_of(rates.dimension)
    vectors = stored["float16 vectors"]
    at_rest = [[name, *(_bytes(size * count) for count in sizes)] for name, size in stored.items()]
    at_rest.append(["shards of the vectors", *(f"{-(-vectors * count // SHARD_BYTES):,}" for count in sizes)])
    moved = [
        [f"the vectors over {line} Gbit/s", *(_hours(vectors * count / (line * 125e6)) for count in sizes)]
        for line in LINES
    ]
    moved += [
        [
            f"256-bit codes over {line} Gbit/s",
            *(_hours(stored["Phase-1 codes, 256 bits"] * count / (line * 125e6)) for count in sizes),
        ]
        for line in LINES[:1]
    ]
    moved += [
        ["writing the vectors to disk", *(_hours(vectors * count / rates.written) for count in sizes)],
        ["reading the vectors once from disk", *(_hours(vectors * count / rates.read) for count in sizes)],
    ]
    work = [
        [f"embed with {model} ({rates.device})", *(_hours(count / rate) for count in sizes)]
        for model, rate in rates.encoded.items()
    ]
    work += [
        [f"encode: {codec}", *(_hours(count / rate) for count in sizes)]
        for codec, rate in rates.coded.items()
    ]
    work += [
        [f"search {QUERIES:,} queries: {name}", *(_hours(count * QUERIES / rate) for count in sizes)]
        for name, rate in rates.compared.items()
    ]
    heads = [f"{count:,} documents" for count in sizes]
    return "\n\n".join(
        _table([title, *heads], rows)
        for title, rows in (("at rest", at_rest), ("moved once", moved), ("computed, one machine", work))
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bytes(count: float) -> str:
    """Bytes to three figures, in decimal units."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{_figures(count / size)} {unit}"
    return f"{count:g} B"


def _hours(seconds: float) -> str:
    """A duration to three figures, in the unit in which it is read."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{_figures(seconds / size)} {unit}"
    return f"{_figures(seconds)} s"


def _figures(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
