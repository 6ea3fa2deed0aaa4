"""How fast the lake is written and read, against raw files, zarr-python and zarrs: ``python -m benchmarks.lake``.

A raw file is the machine's limit: one call that moves an array between memory and the page cache. All sides work in the
page cache of a temporary folder (``TMPDIR``); nothing is synced to the disk on any side, so that the figures compare
software and not disks. The lake's side is all of it: schema, checksums, contents and the atomic commit; opening
and checking. Zarr's sides would take minutes at full size, so by default they are compared at a fifth of it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
import zarr
import zarrs  # noqa: F401  (found by its name in Zarr's configuration)
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from benchmarks._machine import FOLDER, Side, compared, interleaved, write
from store.layout import Layout
from store.leaf.commit import commit_leaf
from store.leaf.labelled import datasets
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Field, Schema

ROWS, DIMENSION = 500_000, 384
PEER_ROWS = 100_000
DTYPES = ("float32", "float16")
REPETITIONS, PEER_REPETITIONS = 7, 5
ROW_COUNT, PLACES = 10, 100
THREADS = 2
"""Threads that Zarr and zarrs may use; raw files and the lake use one."""

RAW, LAKE, BLOCKS, LABELLED, CHUNKS = "raw file", "lake", "lake, in blocks", "open_lake()", "lake, by chunks"
SAME = "zarr, same bytes"
ZARRS_PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.max_threads": THREADS}
KEYS = {"model": "drawn"}

Values = NDArray[Any]


def schema(dtype: str) -> Schema:
    """One array of vectors, cut and stored like embeddings."""
    rows = Field(("document", "dimension"), dtype, "drawn vectors", rows="document")
    return Schema("vectors", tuple(KEYS), {"documents": rows})


def draw(rows: int, dtype: str) -> Values:
    """Seeded normal numbers, scaled as unit vectors are: nothing that a compressor could use."""
    drawn = np.random.default_rng(0).standard_normal((rows, DIMENSION), np.float32)
    drawn /= np.sqrt(DIMENSION, dtype=np.float32)
    return drawn.astype(dtype, copy=False)


def write_raw(path: Path, values: Values) -> None:
    """The array's bytes to a new file."""
    with open(path, "wb", buffering=0) as file:
        rest = values.data.cast("B")
        while rest:
            rest = rest[file.write(rest) :]


def read_raw(path: Path, shape: tuple[int, ...], dtype: str) -> Values:
    """A file's bytes as a new array."""
    values = np.empty(shape, dtype)
    with open(path, "rb", buffering=0) as file:
        rest = values.data.cast("B")
        while rest:
            rest = rest[file.readinto(rest) :]
    return values


def write_lake(root: Path, values: Values) -> None:
    """Commit a leaf that holds the array."""
    with commit_leaf(Layout(root), schema(str(values.dtype)), KEYS) as leaf:
        leaf.write("documents", values)


def opened(root: Path, dtype: str) -> Leaf:
    """The committed leaf."""
    return open_leaf(Layout(root).leaf("vectors", KEYS), schema(dtype))


def labelled(root: Path, dtype: str) -> xr.DataArray:
    """The committed array as `open_lake` returns it: lazy, and nothing of it read before."""
    return datasets(opened(root, dtype))[""]["documents"]


def few_rows(peers: dict[str, Peer], values: Values) -> dict[str, Side]:
    """Ten neighbouring rows at `PLACES` seeded places, of arrays that are open."""
    root, dtype = peers[LAKE].path, str(values.dtype)
    firsts = np.random.default_rng(1).integers(0, len(values) - ROW_COUNT, PLACES).tolist()
    leaf, array = opened(root, dtype), labelled(root, dtype)
    readers: dict[str, Callable[[slice], Values]] = {
        LAKE: lambda rows: leaf.read("documents", rows),
        LABELLED: lambda rows: array[rows].values,
    }
    if SAME in peers:
        same = zarr.open_array(peers[SAME].path, mode="r")
        readers[SAME] = lambda rows: np.asarray(same[rows])

    def all_places(read: Callable[[slice], Values]) -> None:
        for first in firsts:
            read(slice(first, first + ROW_COUNT))

    return {name: Side(partial(all_places, read)) for name, read in readers.items()}


def read_blocks(leaf: Leaf) -> int:
    """Read the array block by block, keeping none."""
    return sum(len(block) for _, block in leaf.blocks("documents"))


def write_zarr(path: Path, values: Values, **layout: Any) -> None:
    """Write a Zarr array, by default as zarr-python would."""
    zarr.create_array(path, shape=values.shape, dtype=values.dtype, **layout)[...] = values


def read_zarr(path: Path) -> Values:
    """Read a Zarr array whole."""
    return np.asarray(zarr.open_array(path, mode="r")[...])


def same_layout(values: Values) -> dict[str, Any]:
    """What makes Zarr write the bytes that the lake holds."""
    chunks, shards = schema(str(values.dtype)).fields["documents"].chunks_and_shards(values.shape)
    return {
        "chunks": chunks,
        "shards": shards,
        "filters": None,
        "compressors": [Crc32cCodec()],
        "fill_value": np.nan,
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "config": {"write_empty_chunks": True},
    }


@dataclass(frozen=True)
class Peer:
    """A way to keep an array: the folder or file it takes below the temporary one, and how to write and read it."""

    path: Path
    write: Callable[[], object]
    read: Callable[[], Values]


def through_zarrs(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same with the zarrs pipeline."""

    def switched() -> Any:
        with zarr.config.set(ZARRS_PIPELINE):
            return run()

    return switched


def plain_peers(folder: Path, values: Values) -> dict[str, Peer]:
    """A raw file and the lake."""
    raw, lake, dtype = folder / "raw", folder / "lake", str(values.dtype)
    return {
        RAW: Peer(raw, lambda: write_raw(raw, values), lambda: read_raw(raw, values.shape, dtype)),
        LAKE: Peer(lake, lambda: write_lake(lake, values), lambda: opened(lake, dtype).read("documents")),
    }


def zarr_peers(folder: Path, values: Values) -> dict[str, Peer]:
    """The lake's layout through zarr-python and through zarrs, and zarr-python's defaults.

    zarrs writes the chunks of a shard in the order in which its threads finish.
    """
    layout = same_layout(values)
    same, fast, default = folder / "same", folder / "zarrs", folder / "default"
    return {
        SAME: Peer(same, lambda: write_zarr(same, values, **layout), lambda: read_zarr(same)),
        "zarrs, same layout": Peer(
            fast,
            through_zarrs(lambda: write_zarr(fast, values, **layout)),
            through_zarrs(lambda: read_zarr(fast)),
        ),
        "zarr's defaults": Peer(default, lambda: write_zarr(default, values), lambda: read_zarr(default)),
    }


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def agree(peers: dict[str, Peer], values: Values) -> None:
    """Write and read everything once, which also warms up; raises `SystemExit` where values or bytes differ."""
    for name, peer in peers.items():
        peer.write()
        if not np.array_equal(peer.read(), values):
            raise SystemExit(f"{name}: reads other values than were written")
    for file in (Layout(peers[LAKE].path).leaf("vectors", KEYS) / "documents").glob("c.*"):
        if SAME in peers and file.read_bytes() != (peers[SAME].path / file.name).read_bytes():
            raise SystemExit(f"{SAME}: {file.name} is not what the lake holds")


def measure(peers: dict[str, Peer], values: Values, repetitions: int) -> dict[str, Any]:
    """Figures of writing and of reading; the peers must agree first."""
    agree(peers, values)
    writes = {name: Side(peer.write, partial(remove, peer.path)) for name, peer in peers.items()}
    reads = {name: Side(peer.read) for name, peer in peers.items()}
    root, dtype = peers[LAKE].path, str(values.dtype)
    leaf = opened(root, dtype)
    reads[BLOCKS] = Side(lambda: read_blocks(leaf))
    reads[LABELLED] = Side(lambda: labelled(root, dtype).values)
    if SAME in peers:
        # The way of an index that is not of whole rows, and of an array that is compressed or not in the workspace.
        rows, columns = map(range, values.shape)
        reads[CHUNKS] = Side(lambda: leaf.reader("documents").by_chunks([rows, columns]))
    figures = {
        "write": compared(interleaved(writes, repetitions), RAW, values.nbytes),
        "read": compared(interleaved(reads, repetitions), RAW, values.nbytes),
        "ten": compared(
            interleaved(few_rows(peers, values), repetitions), LAKE, PLACES * ROW_COUNT * values[0].nbytes
        ),
    }
    for peer in peers.values():
        remove(peer.path)
    return figures


def print_table(title: str, figures: dict[str, Any]) -> None:
    """One line a side: seconds, processor seconds, rate, and speed relative to the raw file with its spread."""
    print(f"\n{title}\n{'':26}median s  (min – max)     CPU s   GB/s  × raw file          CPU")
    for work, sides in figures.items():
        for name, side in sides.items():
            print(
                f"{work:6}{name:20}{side['median_s']:8.3f}  ({side['min_s']:5.3f} – {side['max_s']:5.3f})"
                f"  {side['cpu_s']:6.3f}  {side['gb_per_s']:5.2f}"
                f"  {side['of_base']:5.2f} ({side['of_base_min']:5.2f} – {side['of_base_max']:5.2f})"
                f"  {side['of_base_cpu']:4.2f}"
            )


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Measure, print and write ``report/benchmarks/lake.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lake", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="rows written and read raw and through the lake"
    )
    parser.add_argument(
        "--peer-rows", type=int, default=PEER_ROWS, help="rows for the comparison with Zarr and zarrs"
    )
    chosen = parser.parse_args(arguments)
    figures: dict[str, Any] = {
        "dimension": DIMENSION,
        "threads": {"raw file and lake": 1, "zarr and zarrs": THREADS},
        "storage": "page cache, not synced",
        "rows": {},
    }
    with TemporaryDirectory() as temporary, zarr.config.set({"threading.max_workers": THREADS}):
        for dtype in DTYPES:
            drawn = draw(max(chosen.rows, chosen.peer_rows), dtype)
            values, fewer = drawn[: chosen.rows], drawn[: chosen.peer_rows]
            plain = plain_peers(Path(temporary), values)
            peers = plain_peers(Path(temporary), fewer) | zarr_peers(Path(temporary), fewer)
            for of, sides, repetitions in ((values, plain, REPETITIONS), (fewer, peers, PEER_REPETITIONS)):
                title = f"{len(of):,} × {DIMENSION} {dtype}"
                figures["rows"][title] = measure(sides, of, repetitions)
                print_table(title, figures["rows"][title])
    write("lake", figures, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
