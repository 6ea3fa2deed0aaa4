"""Encoding one cell so that it can be stopped: what is finished is kept, slab by slab, until the leaf is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.embedding.slabs import Encoded
from pipeline.embedding.stored_vectors import stored
from pipeline.executors import Engine
from store.encoders.base import Encoder, Vectors
from store.leaf import digest
from store.leaf.growth import Block, Earlier, InOrder
from store.leaf.unfinished import Part, Unfinished

BATCH_TOKENS = "batch_tokens"
"""Where the encoder's attributes, and the notes of a kept part, hold the tokens of a batch."""


class Encoding:
    """Queries and slabs of documents in the order of a cell, from what is kept where that is what is wanted.

    A slab is encoded by one batch plan. Where memory did not hold its batches the plan is a smaller one from there on,
    also in a run that finds that slab kept, or takes it over from the leaf before. So the vectors follow from the
    plan that `record` gives, wherever a run was stopped.

    ``label`` is the model's, ``read`` gives a slab's texts, and ``recipe`` is the digest of all that vectors depend on
    beside their texts. ``advanced`` is told the rows that were encoded and those that are left.
    """

    def __init__(
        self,
        encoder: Encoder,
        label: str,
        recipe: str,
        slabs: Sequence[Block],
        read: Callable[[Block], Sequence[str]],
        earlier: Earlier,
        kept: Unfinished,
        advanced: Callable[[int, int], None],
        took_over: Callable[[int], None],
    ) -> None:
        self._encoder, self._label = encoder, label
        self._recipe, self._slabs, self._read = recipe, slabs, read
        self._kept, self._advanced, self._took_over = kept, advanced, took_over
        self._conditions = dict(encoder.conditions)
        self._before = _plan_of(earlier)
        self._plan: dict[int, int] = {}
        self._query_plan = 0
        self._encoded: set[int] = set()
        self._number = {slab.first: number for number, slab in enumerate(slabs)}

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the queries, float32."""
        origin = self._origin(queries=digest.of_texts(texts))
        part = self._kept.read("queries", origin)
        if part is None:
            vectors = self._encoder.encode_queries(texts)
            # Before anything expensive: the documents come from the same model.
            stored(vectors, "query", self._label)
            part = self._keep("queries", origin, vectors)
        else:
            self._narrow(part.notes[BATCH_TOKENS])
        self._query_plan = part.notes[BATCH_TOKENS]
        return part.values

    def stored(self, slab: Block) -> NDArray[np.float16]:
        """Vectors of a slab as the leaf stores them: kept ones, else encoded now."""
        number = self._number[slab.first]
        self._pass_over(number)
        part = self._kept.read(_name(number), self._slab_origin(slab))
        if part is None:
            part, _ = self._encode(number)
        elif number not in self._encoded:
            self._took_over(slab.rows)
        self._plan[number] = part.notes[BATCH_TOKENS]
        self._narrow(self._plan[number])
        return part.values

    def through(
        self, engine: Engine, encode: Callable[[Block], Encoded], arrived: Callable[[int, int], None]
    ) -> InOrder:
        """`stored` of slabs in order, where an engine runs ``encode`` for those that are not kept.

        ``arrived`` is told the texts and the tokens of each slab that was encoded elsewhere.
        """

        def in_order(work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], /) -> Iterator[Any]:
            slabs = [slab for (slab,) in jobs]
            absent = {slab.first for slab in slabs if not self._is_kept(slab)}
            left = sum(slab.rows for slab in slabs if slab.first in absent)
            arriving = iter(engine.in_order(encode, [(slab,) for slab in slabs if slab.first in absent]))
            if absent:
                self._advanced(0, left)
            for slab in slabs:
                if slab.first in absent:
                    number = self._number[slab.first]
                    found = next(arriving)
                    notes = {BATCH_TOKENS: found.batch_tokens}
                    self._kept.keep(_name(number), self._slab_origin(slab), found.vectors, **notes)
                    self._encoded.add(number)
                    arrived(slab.rows, found.tokens)
                    left -= slab.rows
                    self._advanced(self.encoded, left)
                yield work(slab)

        return in_order

    def storage(self, origin: str, measure: Callable[[Vectors], Any]) -> Any:
        """What ``measure`` makes of the float32 vectors of the first slab; kept as well."""
        origin = self._origin(storage=origin)
        part = self._kept.read("storage", origin)
        if part is None:
            part = Part(np.empty(0), {"storage": measure(self._encode(0)[1])})
            self._kept.keep("storage", origin, part.values, **part.notes)
        return part.notes["storage"]

    def record(self) -> dict[str, Any]:
        """The batch plan for the encoder's attributes: tokens of a batch of queries, and [slab, tokens] from it on."""
        self._pass_over(len(self._slabs))
        if not self._encoder.batch_tokens:
            return {}
        changes = [
            [number, tokens]
            for number, tokens in sorted(self._plan.items())
            if not number or self._plan[number - 1] != tokens
        ]
        return {BATCH_TOKENS: {"queries": self._query_plan, "documents": changes}}

    @property
    def encoded(self) -> int:
        """Documents that this run has encoded and not taken over."""
        return sum(self._slabs[number].rows for number in self._encoded)

    def _encode(self, number: int) -> tuple[Part, Vectors]:
        """Slab ``number`` encoded now: what the leaf stores of it, which is kept, and its float32 vectors."""
        slab = self._slabs[number]
        left = self._slabs[-1].first + self._slabs[-1].rows - slab.first
        if not self._encoded:
            self._advanced(0, left)
        vectors = self._encoder.encode_documents(self._read(slab))
        part = self._keep(
            _name(number), self._slab_origin(slab), stored(vectors, "document", self._label, slab.first)
        )
        self._encoded.add(number)
        self._advanced(self.encoded, left - slab.rows)
        return part, vectors

    def _is_kept(self, slab: Block) -> bool:
        return self._kept.read(_name(self._number[slab.first]), self._slab_origin(slab)) is not None

    def _keep(self, name: str, origin: str, values: NDArray[Any]) -> Part:
        notes = {BATCH_TOKENS: self._encoder.batch_tokens}
        self._kept.keep(name, origin, values, **notes)
        return Part(values, notes)

    def _origin(self, **made_from: str) -> str:
        # Rounding depends on the processor and on versions, which the leaf does not record: no mix of two.
        return digest.of_settings(recipe=self._recipe, conditions=self._conditions, **made_from)

    def _slab_origin(self, slab: Block) -> str:
        return self._origin(documents=slab.content)

    def _narrow(self, tokens: int) -> None:
        self._encoder.batch_tokens = min(self._encoder.batch_tokens, tokens)

    def _pass_over(self, number: int) -> None:
        """Slabs before ``number`` that nobody asked for were taken over from the leaf before, with their plan."""
        for earlier in range(number):
            if earlier not in self._plan:
                self._plan[earlier] = self._before(earlier)
                if earlier not in self._encoded:
                    self._took_over(self._slabs[earlier].rows)
                self._narrow(self._plan[earlier])


def _name(number: int) -> str:
    return f"documents-{number:06}"


def _plan_of(earlier: Earlier) -> Callable[[int], int]:
    """The tokens of a batch with which the leaf before encoded a slab."""
    recorded: Mapping[str, Any] = {} if earlier.leaf is None else earlier.leaf.attributes["encoder"]
    changes: Sequence[Sequence[int]] = recorded.get(BATCH_TOKENS, {}).get("documents", [])

    def tokens(number: int) -> int:
        return next((tokens for first, tokens in reversed(changes) if first <= number), 0)

    return tokens
