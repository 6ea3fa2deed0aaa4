"""A seeded draw from a stream of texts, in one pass: ids and places in memory, the texts themselves in a file.

An id's priority is a keyed hash of it, and those of the least priority are drawn. So a draw depends on the set of
ids and on the seed, not on the order in which they come nor on what else was drawn.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import struct
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from store.errors import UnavailableResource

_HEADER = struct.Struct("<QI")
"""Before each text in the file: its row in the stream and its length in bytes."""
_BUFFER = 1 << 20


class Drawn(Mapping[str, str]):
    """Texts by id: those that ``judged`` names, and at most ``others`` of the rest (None: all of them).

    Texts that are drawn and later displaced stay in the file until it is closed: it grows to about
    1 + ln(seen ÷ drawn) times what is drawn. It has no name, so nothing is left of it after the process.
    """

    def __init__(self, folder: Path, *, judged: Set[str], others: int | None, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # Open as long as this is: closed with it.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._judged, self._others = judged, others
        self._key = seed.to_bytes(8, "little")
        self._places: dict[str, int] = {}
        self._last: list[tuple[int, str]] = []

    def offer(self, row: int, name: str, text: str) -> None:
        """Take the text if it belongs to the draw so far; ``name`` must not be in it already."""
        if name not in self._judged and self._others is not None:
            # The least of the heap is displaced first.
            entry = (-self._priority(name), name)
            if len(self._last) < self._others:
                heapq.heappush(self._last, entry)
            elif self._last and entry > self._last[0]:
                del self._places[heapq.heapreplace(self._last, entry)[1]]
            else:
                return
        content = text.encode("utf-8")
        try:
            self._file.write(_HEADER.pack(row, len(content)))
            self._file.write(content)
        except OSError as error:
            raise UnavailableResource(
                f"{self._folder}: cannot hold the texts ({error.strerror}); make room"
            ) from None
        self._places[name] = self._end
        self._end += _HEADER.size + len(content)

    def row(self, name: str) -> int:
        """The row of the stream that ``name`` came from."""
        return self._header(self._places[name])[0]

    def __getitem__(self, name: str) -> str:
        place = self._places[name]
        _, length = self._header(place)
        return os.pread(self._file.fileno(), length, place + _HEADER.size).decode("utf-8")

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _header(self, place: int) -> tuple[int, int]:
        try:
            self._file.flush()
        except OSError as error:
            raise UnavailableResource(
                f"{self._folder}: cannot hold the texts ({error.strerror}); make room"
            ) from None
        row, length = _HEADER.unpack(os.pread(self._file.fileno(), _HEADER.size, place))
        return row, length

    def _priority(self, name: str) -> int:
        digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little")
