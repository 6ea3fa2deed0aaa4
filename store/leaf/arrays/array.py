"""Reading an array of a leaf: its chunk files are fetched, checked, decoded, and copied to where the reader wants them.

Every inner chunk is compared with the checksum that the leaf lists for it, which identifies it as the right one,
before anything is decoded. A missing, damaged or exchanged chunk raises, and never reads as fill values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import DamagedArtifact
from store.leaf.arrays.decoding import decoded
from store.leaf.arrays.index import Cut, cuts, selected
from store.leaf.arrays.rows import RowChunks, read_spans
from store.leaf.arrays.shard import CHECKSUM_BYTES, chunk_ranges, index_bytes, is_sound, stored_checksums
from store.leaf.source import Folder, Source

REQUEST_BYTES = 16 * 1024 * 1024
"""Bytes of consecutive inner chunks that are requested together."""

_REQUESTS = 8
"""Requests that wait for a disk or a server at the same time."""


@dataclass(frozen=True)
class ArrayFiles:
    """What is known of an array before anything of it is read.

    ``unit`` is the shape of a chunk file, ``chunk`` that of an inner chunk, and ``inner`` the number of inner chunks in
    the index of each shard, 0 where the array has no shards. ``checksums`` are those of the inner chunks of each chunk
    file, in order. ``rows`` says how rows are laid out in the files, if they are there as in memory. ``metadata`` is
    its ``zarr.json``.
    """

    shape: tuple[int, ...]
    dtype: str
    unit: tuple[int, ...]
    chunk: tuple[int, ...]
    inner: int
    compressed: bool
    checksums: Mapping[str, tuple[bytes, ...]]
    rows: RowChunks | None
    metadata: bytes

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of a shard, None where a chunk file is a single chunk."""
        return self.unit if self.inner else None

    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of the values: `numpy.dtypes.StringDType` for texts."""
        return np.dtypes.StringDType() if self.dtype == "string" else np.dtype(self.dtype)


@dataclass(frozen=True)
class ArrayReader:
    """The values of the array at ``path`` of a leaf."""

    source: Source
    path: str
    files: ArrayFiles
    _ranges: dict[str, NDArray[np.int64]] = field(default_factory=dict, compare=False, repr=False)

    def read(self, index: Any = ...) -> NDArray[Any]:
        """A new array with the values at ``index``: numbers, slices, and arrays of positions or booleans.

        Several arrays select the positions that they cross in, as `numpy.ix_` does. Raises `IndexError` for what is no
        such index, `MissingArtifact` for a file that is gone, and `DamagedArtifact` for one that is not the right one.
        """
        chosen = selected(index, self.files.shape)
        values = self._straight(chosen.along)
        if values is None:
            values = self.by_chunks(chosen.along)
        return values.reshape(chosen.shape)

    def _straight(self, along: Sequence[range | NDArray[np.intp]]) -> NDArray[Any] | None:
        """Consecutive whole rows straight from files of the workspace; None for anything else, or if a check fails."""
        if self.files.rows is None or not isinstance(self.source, Folder):
            return None
        spans = [part for part in along if isinstance(part, range) and part.step == 1]
        if len(spans) < len(along):
            return None
        return read_spans(self.source.path / self.path, self.files.rows, self.files.checksums, spans)

    def by_chunks(self, along: Sequence[range | NDArray[np.intp]]) -> NDArray[Any]:
        """The values at the positions along each dimension, from any source and of any layout, by inner chunks."""
        values = np.empty([len(part) for part in along], self.files.numpy_dtype())
        if not values.size and values.ndim:
            return values
        wanted: dict[str, dict[int, tuple[Cut, ...]]] = {}
        axes = [cuts(part, size) for part, size in zip(along, self.files.chunk, strict=True)]
        for place in itertools.product(*axes):
            name, ordinal = self._located([cut.number for cut in place])
            wanted.setdefault(name, {})[ordinal] = place
        jobs: list[Callable[[], None]] = []
        for name, places in wanted.items():
            for run in self._runs(name, sorted(places)):
                jobs.append(lambda name=name, run=run, places=places: self._fill(values, name, run, places))  # type: ignore[misc]
        _at_once(jobs)
        return values

    def _located(self, numbers: Sequence[int]) -> tuple[str, int]:
        """The chunk file that holds an inner chunk, and which of those in the file it is."""
        shape, unit, chunk = self.files.shape, self.files.unit, self.files.chunk
        file, within, held = [], 0, 1
        for number, size, whole, part in zip(numbers, shape, unit, chunk, strict=True):
            first = number * part // whole
            held = -(-min(whole, size - first * whole) // part)
            within = within * held + number - first * whole // part
            file.append(first)
        return ".".join(["c", *map(str, file)]), within

    def _runs(self, name: str, ordinals: list[int]) -> Iterator[tuple[list[int], int | None, int | None]]:
        """The inner chunks of a file in consecutive runs with their first and last byte, None for the whole file."""
        total = len(self.files.checksums[name])
        if not self.files.inner or (len(ordinals) == total and total * self._chunk_bytes <= REQUEST_BYTES):
            yield ordinals, None, None
            return
        ranges = self._known_ranges(name)
        run: list[int] = []
        first = last = 0
        for ordinal in ordinals:
            start, stop = ranges[ordinal].tolist()
            if run and (start != last or stop - first > REQUEST_BYTES):
                yield run, first, last
                run = []
            if not run:
                first = start
            run.append(ordinal)
            last = stop
        yield run, first, last

    @property
    def _chunk_bytes(self) -> int:
        return math.prod(self.files.chunk) * self.files.numpy_dtype().itemsize

    def _known_ranges(self, name: str) -> NDArray[np.int64]:
        """First and last byte of each inner chunk of a shard, by its index."""
        if name not in self._ranges:
            index = self.source.read(f"{self.path}/{name}", -index_bytes(self.files.inner))
            with self._trusted(name):
                ranges = chunk_ranges(index)
                # A chunk missing from the index would read as fill values.
                if len(ranges) != len(self.files.checksums[name]):
                    raise ValueError("the index lists other chunks")
            self._ranges[name] = ranges
        return self._ranges[name]

    def _fill(
        self,
        values: NDArray[Any],
        name: str,
        run: tuple[list[int], int | None, int | None],
        places: Mapping[int, tuple[Cut, ...]],
    ) -> None:
        """Put the chunks of a run where they belong."""
        ordinals, first, last = run
        data = memoryview(self.source.read(f"{self.path}/{name}", first, last))
        expected = self.files.checksums[name]
        with self._trusted(name):
            if first is None:
                if stored_checksums(data, self.files.inner) != list(expected):
                    raise ValueError("the inner chunks are others")
                ranges = (
                    chunk_ranges(data[-index_bytes(self.files.inner) :])
                    if self.files.inner
                    else np.array([[0, len(data)]])
                )
            else:
                ranges = self._ranges[name] - first
            for ordinal in ordinals:
                start, stop = ranges[ordinal].tolist()
                stored = data[start:stop]
                if first is not None and not (
                    is_sound(stored) and stored[-CHECKSUM_BYTES:] == expected[ordinal]
                ):
                    raise ValueError("the inner chunk is another one")
                held = [
                    min(part, size - cut.number * part)
                    for part, size, cut in zip(
                        self.files.chunk, self.files.shape, places[ordinal], strict=True
                    )
                ]
                chunk = decoded(
                    stored[:-CHECKSUM_BYTES],
                    self.files.numpy_dtype(),
                    self.files.chunk,
                    math.prod(held),
                    compressed=self.files.compressed,
                )
                _put(values, chunk, places[ordinal])

    def _trusted(self, name: str) -> _Proof:
        return _Proof(self.source, f"{self.path}/{name}")


@dataclass(frozen=True)
class _Proof:
    """Any failure while a chunk file is checked or decoded is damage to that file."""

    source: Source
    name: str

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # Codecs raise any kind of error for bytes that they did not write.
        if isinstance(error, Exception) and not isinstance(error, DamagedArtifact | MemoryError):
            raise DamagedArtifact(
                f"{self.source.label}: {self.name} is damaged, or has changed since it was opened; "
                f"open it again, and if that fails remove the artifact, then {self.source.remedy}"
            ) from error


def _put(values: NDArray[Any], chunk: NDArray[Any], place: tuple[Cut, ...]) -> None:
    """Copy the selected part of a chunk into ``values``."""
    if sum(isinstance(cut.into, np.ndarray) for cut in place) > 1:
        into = np.ix_(*(_positions(cut.into) for cut in place))
        values[into] = chunk[np.ix_(*(_positions(cut.taken) for cut in place))]
    else:
        values[tuple(cut.into for cut in place)] = chunk[tuple(cut.taken for cut in place)]


def _positions(part: slice | NDArray[np.intp]) -> NDArray[np.intp]:
    return part if isinstance(part, np.ndarray) else np.arange(part.start, part.stop)


def _at_once(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs that wait for a disk or a server side by side; the first error is raised."""
    if len(jobs) == 1:
        jobs[0]()
        return
    with ThreadPoolExecutor(min(len(jobs), _REQUESTS)) as pool:
        running = [pool.submit(job) for job in jobs]
        try:
            for job in running:
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
