"""Processes that write leaves and can be killed. They are forked, which spares each of them the start of Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import store.leaf.commit
import store.leaf.schema
from store.artifacts.binary_codes import BINARY_CODES
from store.artifacts.embeddings import EMBEDDINGS
from store.codecs import phase1
from store.layout import Layout
from store.leaf import digest
from store.leaf.commit import commit_leaf
from store.leaf.growth import Block, Earlier, array_blocks, grow
from store.leaf.reading import open_leaf
from tests.paths import ROOT
from tests.store.lakes import CELL, describe_embeddings, vectors

SIZES = (1536, 3500)
"""Documents of each version: the second is the first, grown. The shards of the first are full."""

BITS = 64
SEEDS = (0, 1)
SLAB = 500
LEAVES = (EMBEDDINGS, BINARY_CODES)


def write(root: Path, version: int) -> None:
    """Write embeddings and then codes as stages do, taking over what can be."""
    layout = Layout(root)
    documents = vectors(SIZES[1])[: SIZES[version]]
    slabs = [
        Block(at, SLAB, digest.of_array(documents[at : at + SLAB])) for at in range(0, len(documents), SLAB)
    ]
    before = Earlier.at(layout.leaf("embeddings", CELL), EMBEDDINGS)
    with commit_leaf(layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("queries", vectors(10, seed=1))
        grow(leaf, before, "documents", documents.shape, "", slabs, lambda slab: documents[slab.slice])
        describe_embeddings(leaf)
    embeddings = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    before = Earlier.at(layout.leaf("binary_codes", CELL), BINARY_CODES)
    with commit_leaf(layout, BINARY_CODES, CELL) as leaf:
        for side, rows in (("documents", len(documents)), ("queries", 10)):
            grow(
                leaf,
                before,
                f"phase1/{side}",
                (len(SEEDS), rows, BITS // 8),
                "",
                array_blocks(embeddings, side),
                lambda block, index, side=side: phase1.encode(
                    embeddings.read(side, block.slice), BITS, SEEDS[index]
                ),
            )
        leaf.write("phase1/seed", np.array(SEEDS, np.int32))
        leaf.describe_group("phase1", bits=[BITS])
        leaf.describe(**CELL, fit_rows=0)


class Writers:
    """Writers in processes of their own, forked one at a time by a process that has imported all they need."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.leaf.writers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def run(self, root: Path, version: int) -> float:
        """Write a version undisturbed; returns the seconds it took."""
        _, seconds = self._ask(root, version, None, 0)
        return seconds

    def kill(self, root: Path, version: int, delay: float, renaming: int = 0) -> bool:
        """Kill a writer of a version ``delay`` seconds after it begins; returns whether it had not ended before.

        With ``renaming`` it is that long after the so many-th leaf is about to be put into its place.
        """
        killed, _ = self._ask(root, version, delay, renaming)
        return killed

    def _ask(self, *question: Any) -> tuple[bool, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question, default=str) + "\n")
        status, seconds = json.loads(self._process.stdout.readline())
        assert status in (0, signal.SIGKILL), f"the writer failed: {status}"
        return bool(status), seconds

    def close(self) -> None:
        """End the process that forks them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def _fork(root: str, version: int, delay: float | None, renaming: int) -> tuple[int, float]:
    """Fork a writer, kill it if asked to; its status and seconds."""
    begun = time.monotonic()
    seen, told = os.pipe()
    writer = os.fork()
    if not writer:
        status = 1
        try:
            _announce_renaming(told)
            write(Path(root), version)
            status = 0
        finally:
            os._exit(status)
    os.close(told)
    if delay is not None:
        for _ in range(renaming):
            os.read(seen, 1)
        time.sleep(delay)
        # It is not waited for yet, so the number is still its own.
        os.kill(writer, signal.SIGKILL)
    status = os.waitpid(writer, 0)[1]
    os.close(seen)
    return status, time.monotonic() - begun


def _announce_renaming(pipe: int) -> None:
    replace = store.leaf.commit.replace_folder

    def announced(source: Path, target: Path) -> None:
        os.write(pipe, b"r")
        replace(source, target)

    store.leaf.commit.replace_folder = announced


def main() -> None:
    """Serve until the standard input ends."""
    # Several shards a leaf, so that there is more to be cut off in the middle of.
    store.leaf.schema.SHARD_CHUNKS, store.leaf.schema.CHUNK_BYTES = 8, 64 * 32
    for line in sys.stdin:
        print(json.dumps(_fork(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
