"""The section ``search`` of ``params.yaml``, which every search and what is computed from it depends on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Constraint
from pydantic import field_validator

from pipeline.stage import Section


class Cutoffs(Section):
    """``k`` are the cut-offs of every metric; each search keeps as many neighbours as the largest."""

    k: Annotated[tuple[Annotated[int, Constraint(ge=1)], ...], Constraint(min_length=1)]

    @field_validator("k")
    @classmethod
    def _ascending(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(k)) != list(k):
            raise ValueError("cut-offs must be ascending and distinct")
        return k

    @property
    def depth(self) -> int:
        """Neighbours kept per query."""
        return self.k[-1]
