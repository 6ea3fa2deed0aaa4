"""What the sizes of chunks and shards, and compression, would cost: ``python -m benchmarks._lake_sizes [PROJECT]``.

Not a suite of ``make bench``: docs/lake.md has its figures; run it again when a choice is in doubt.
Compression is measured on the embeddings and codes of a computed project, because random numbers would not do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from numcodecs import Zstd  # type: ignore[import-untyped]

from benchmarks._machine import FOLDER, ROOT, Side, compared, interleaved, write
from benchmarks.lake import (
    KEYS,
    RAW,
    Values,
    draw,
    opened,
    read_raw,
    read_zarr,
    remove,
    schema,
    write_lake,
    write_raw,
)
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.quantized_codes import QUANTIZED_CODES
from store.layout import Layout
from store.leaf.arrays.shard import checksum
from store.leaf.reading import open_leaf
from store.leaf.schema import CHUNK_BYTES, SHARD_CHUNKS
from store.leaf.source import Folder

KIB, MIB = 1 << 10, 1 << 20
CHUNKS = tuple(KIB << power for power in range(7, 13))
SHARDS = tuple(MIB << power for power in range(5, 10))
ROWS, DTYPE = 500_000, "float16"
NEIGHBOURS, PLACES, REPETITIONS = 10, 200, 5
STRADDLING = slice(4096 - NEIGHBOURS // 2, 4096 + NEIGHBOURS // 2)
"""Rows on both sides of a boundary between chunks, of any size: the most expensive place to read."""


@dataclass(frozen=True)
class Remote:
    """A leaf that is not in the workspace: counts the requests and the bytes that a remote would be asked for."""

    folder: Folder
    sizes: list[int] = field(default_factory=list)
    label: str = "remote"
    remedy: str = "none is needed"

    @cached_property
    def names(self) -> frozenset[str]:
        return self.folder.names

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        data = self.folder.read(name, start, end)
        if not name.endswith("zarr.json"):
            self.sizes.append(len(data))
        return data


def places() -> list[slice]:
    """Where neighbouring rows are read: seeded, anywhere."""
    firsts = np.random.default_rng(1).integers(0, ROWS - NEIGHBOURS, PLACES).tolist()
    return [slice(first, first + NEIGHBOURS) for first in firsts]


def few_rows(root: Path) -> dict[str, float]:
    """Median milliseconds of reading neighbouring rows here, and what a remote would send for them."""
    leaf, seconds = opened(root, DTYPE), []
    for rows in places():
        start = time.perf_counter()
        leaf.read("documents", rows)
        seconds.append(time.perf_counter() - start)
    remote = Remote(Folder(Layout(root).leaf("vectors", KEYS)))
    far, kilobytes = open_leaf(remote, schema(DTYPE)), []
    for rows in (*places()[:20], STRADDLING):
        remote.sizes.clear()
        far.read("documents", rows)
        kilobytes.append(sum(remote.sizes) / 1000)
    return {
        "few_rows_ms": round(1000 * median(seconds), 3),
        "remote_kb": round(median(kilobytes)),
        "remote_kb_max": round(max(kilobytes)),
    }


def sweep(sizes: dict[str, tuple[int, int]], folder: Path, values: Values) -> dict[str, Any]:
    """Figures for each pair of chunk bytes and chunks a shard, all in turns."""
    raw = folder / RAW
    write_raw(raw, values)
    writes = {RAW: Side(lambda: write_raw(raw, values), lambda: remove(raw))}
    reads = {RAW: Side(lambda: read_raw(raw, values.shape, DTYPE))}
    few = {}
    for name, (chunk, count) in sizes.items():
        root = folder / name
        root.mkdir()

        def commit(root: Path = root, chunk: int = chunk, count: int = count) -> None:
            with mock.patch.multiple("store.leaf.schema", CHUNK_BYTES=chunk, SHARD_CHUNKS=count):
                write_lake(root, values)

        def read(root: Path = root) -> Values:
            return opened(root, DTYPE).read("documents")

        commit()
        if not np.array_equal(read(), values):
            raise SystemExit(f"{name}: reads other values than were written")
        files = list(Layout(root).leaf("vectors", KEYS).glob("documents/c.*"))
        few[name] = {
            **few_rows(root),
            "files": len(files),
            "bytes": sum(file.stat().st_size for file in files),
        }
        writes[name], reads[name] = Side(commit, partial(remove, root / "lake.zarr")), Side(read)
    written = compared(interleaved(writes, REPETITIONS), RAW, values.nbytes)
    figures = compared(interleaved(reads, REPETITIONS), RAW, values.nbytes)
    for name in sizes:
        remove(folder / name)
    return {name: {"read": figures[name], "write": written[name], **few[name]} for name in sizes}


def print_sweep(figures: dict[str, Any]) -> None:
    """One line a choice."""
    print(f"\n{'':14}× raw file: read  (CPU)  write  (CPU)   ten rows ms   remote kB (max)   files")
    for name, row in figures.items():
        read, written = row["read"], row["write"]
        print(
            f"{name:14}{read['of_base']:16.2f}  ({read['of_base_cpu']:.2f}) {written['of_base']:6.2f}  "
            f"({written['of_base_cpu']:.2f}) {row['few_rows_ms']:13.3f}"
            f" {row['remote_kb']:11} ({row['remote_kb_max']}) {row['files']:7}"
        )


def stored_arrays(project: Path) -> Iterator[tuple[str, Values]]:
    """Every array of document vectors and codes of a computed project, by what kind it is."""
    for artifact in (EMBEDDINGS.artifact, BINARY_CODES.artifact, QUANTIZED_CODES.artifact):
        lake = Layout(project).lake / artifact
        for document in sorted(lake.rglob("documents/zarr.json")):
            model, *_, last = document.parent.parent.relative_to(lake).parts
            kind = f"embeddings of {model}" if artifact == EMBEDDINGS.artifact else last
            yield kind, read_zarr(document.parent)


def speed(work: Callable[[bytes], object], pieces: Sequence[bytes], size: int) -> float:
    """GB a second of processor time, best of several, where the pieces stand for ``size`` bytes."""
    taken = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        for piece in pieces:
            work(piece)
        taken.append(time.process_time() - start)
    return round(size / max(min(taken), 1e-9) / 1e9, 2)


def compression(project: Path) -> dict[str, Any]:
    """Size and speed of checksums alone and of zstd, on chunks of the size that the lake has."""
    kinds: dict[str, list[bytes]] = {}
    for kind, values in stored_arrays(project):
        kinds.setdefault(kind, []).append(values.tobytes())
    figures = {}
    for kind, parts in sorted(kinds.items()):
        data = b"".join(parts)
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        row: dict[str, float] = {"bytes": len(data), "crc32c_gb_per_s": speed(checksum, chunks, len(data))}
        for level in (1, 3):
            codec = Zstd(level=level, checksum=True)
            packed = [codec.encode(chunk) for chunk in chunks]
            row[f"zstd{level}_size"] = round(sum(map(len, packed)) / len(data), 3)
            row[f"zstd{level}_write_gb_per_s"] = speed(codec.encode, chunks, len(data))
            row[f"zstd{level}_read_gb_per_s"] = speed(codec.decode, packed, len(data))
        figures[kind] = row
    return figures


def print_compression(figures: dict[str, Any]) -> None:
    """One line a kind of array."""
    print(f"\n{'':32}     MB  crc32c GB/s   zstd 1: size  write  read   zstd 3: size  write  read")
    for kind, row in figures.items():
        levels = "   ".join(
            f"{row[f'zstd{level}_size']:12.3f} {row[f'zstd{level}_write_gb_per_s']:6.2f}"
            f" {row[f'zstd{level}_read_gb_per_s']:5.2f}"
            for level in (1, 3)
        )
        print(f"{kind:32}{row['bytes'] / 1e6:7.2f} {row['crc32c_gb_per_s']:12.2f}   {levels}")


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Measure, print and write ``report/benchmarks/lake_sizes.json``."""
    chosen = sys.argv[1:] if arguments is None else arguments
    project = Path(chosen[0]) if chosen else ROOT
    figures: dict[str, Any] = {"rows": ROWS, "dtype": DTYPE, "storage": "page cache, not synced"}
    values = draw(ROWS, DTYPE)
    whole = CHUNK_BYTES * SHARD_CHUNKS
    by_chunk = {f"{chunk // KIB} KiB": (chunk, whole // chunk) for chunk in CHUNKS}
    by_shard = {f"{shard // MIB} MiB": (CHUNK_BYTES, shard // CHUNK_BYTES) for shard in SHARDS}
    with TemporaryDirectory() as temporary:
        for name, sizes in (("chunks", by_chunk), ("shards", by_shard)):
            figures[name] = sweep(sizes, Path(temporary), values)
            print_sweep(figures[name])
    figures["compression"] = compression(project)
    print_compression(figures["compression"])
    write("lake_sizes", figures, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
