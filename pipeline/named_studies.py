"""The named studies of a project: which of them an artifact belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from store.artifacts.schemas import SCHEMAS
from store.errors import InvalidInput
from store.layout import CORPORA
from store.yaml_files import parse_yaml

STUDIES = "studies"
PLAN = "budget.yaml"
"""The file among them that describes no study, but what all of them may take."""


@dataclass(frozen=True)
class NamedStudy:
    """The cells that ``studies/<name>.yaml`` selects: every model with every dataset."""

    name: str
    models: frozenset[str]
    datasets: frozenset[str]

    def has(self, path: str) -> bool:
        """Whether an output, relative to the project, is made for the cells of this study."""
        folder, *labels = path.split("/")
        if folder == CORPORA:
            return len(labels) == 1 and labels[0] in self.datasets
        schema = SCHEMAS.get(labels[0]) if labels else None
        if schema is None or len(labels) != 1 + len(schema.keys):
            return False
        known = {"model": self.models, "dataset": self.datasets}
        return all(label in known[key] for key, label in zip(schema.keys, labels[1:], strict=True))


def study_files(root: Path) -> list[Path]:
    """The files that describe the studies of the project at ``root``, sorted."""
    return sorted(path for path in (root / STUDIES).glob("*.yaml") if path.name != PLAN)


def named_studies(root: Path) -> list[NamedStudy]:
    """Every study of the project at ``root``, by name. Raises `InvalidInput` for a file that describes none."""
    found = []
    for path in study_files(root):
        try:
            study = parse_yaml(path.read_bytes(), f"{STUDIES}/{path.name}")["study"]
            found.append(NamedStudy(path.stem, frozenset(study["models"]), frozenset(study["datasets"])))
        except (KeyError, TypeError) as error:
            raise InvalidInput(
                f"{STUDIES}/{path.name}: describes no study ({error}); it needs study.models and study.datasets"
            ) from None
    return found


Claim = tuple[str, str]


def claims(root: Path) -> Callable[[Iterable[str]], Claim]:
    """For outputs that no stage of ``dvc.yaml`` makes: which named studies have them, and what brings them back.

    The remedy is empty where no study has any of them.
    """
    studies = named_studies(root)

    def of(outputs: Iterable[str]) -> Claim:
        paths = list(outputs)
        users = [study.name for study in studies if any(map(study.has, paths))]
        if not users:
            return "it belongs to no named study", ""
        return f"it belongs to study {', '.join(users)}", f"`lake study use {users[0]}` brings it back"

    return of
