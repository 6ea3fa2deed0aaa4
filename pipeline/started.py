"""What a run was started with, so that nothing is recorded as made by parameters or code that came later.

DVC reads ``params.yaml`` and ``code.yaml`` when a stage has ended, and records what it finds then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import code
from pipeline.graph import expand
from pipeline.params import PARAMS, SWEEPS, Params
from pipeline.stage import Stage
from store.errors import BitlakeError, InvalidInput
from store.layout import CHECKOUT
from store.yaml_files import read_yaml

_BY_DVC = "DVC_STAGE"
"""Set by DVC for the commands that it runs."""


@dataclass(frozen=True)
class Started:
    """The values of the parameters that a step depends on, by their place in ``params.yaml``, and its code's digest."""

    root: Path
    stage: Stage
    values: Mapping[str, Any]
    digest: str

    @classmethod
    def now(cls, root: Path, stage: Stage, step: str, params: Params, content: Mapping[str, Any]) -> Started:
        """A run of ``step`` that has just parsed ``content``, that of ``params.yaml``, and loaded its code."""
        places = [place for place in expand(params)[step]["params"] if isinstance(place, str)]
        values = {place: _value(content, place) for place in places}
        return cls(root, stage, values, code.digest(CHECKOUT, f"stages.{stage.module}"))

    @property
    def settings(self) -> dict[str, Any]:
        """The choices of the study among the values, by their place; a sweep's section means what the common one does.

        Entries of models and datasets, which may hold paths, and the list of cells are left out.
        """
        return {
            place.split(".", 2)[2] if place.startswith(f"{SWEEPS}.") else place: value
            for place, value in self.values.items()
            if place.partition(".")[0] not in ("models", "datasets", "study")
        }

    def check(self) -> None:
        """Raise `InvalidInput` where parameters or code are no longer what the run was started with."""
        content = read_yaml(self.root / PARAMS)
        for place, value in self.values.items():
            if _value(content, place) != value:
                raise InvalidInput(
                    f"{PARAMS}: {place} was edited while {self.stage.name} ran; nothing is committed, run it again"
                )
        try:
            same = code.digest(CHECKOUT, f"stages.{self.stage.module}") == self.digest
        except (SyntaxError, OSError):
            same = False
        if not same:
            raise InvalidInput(
                f"the code of {self.stage.name} was edited while it ran; nothing is committed, run it again"
            )
        if _BY_DVC in os.environ and self._recorded() not in (None, self.digest):
            raise InvalidInput(
                f"{code.CODE}: {self.stage.name} is not the code that ran; nothing is committed, "
                "run `dvc repro` again"
            )

    def _recorded(self) -> Any:
        """The digest that DVC would record; None where nobody has written one."""
        try:
            return read_yaml(self.root / code.CODE).get(self.stage.name)
        except BitlakeError:
            return None


def _value(content: Mapping[str, Any], place: str) -> Any:
    found: Any = content
    for part in place.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
