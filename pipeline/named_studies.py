"""The named studies of a project: which of them an artifact belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.artifacts.schemas import SCHEMAS
from store.errors import InvalidInput
from store.layout import CORPORA

STUDIES = "studies"


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


def named_studies(root: Path) -> list[NamedStudy]:
    """Every study of the project at ``root``, by name. Raises `InvalidInput` for a file that describes none."""
    found = []
    for path in sorted((root / STUDIES).glob("*.yaml")):
        try:
            study = read_yaml(path.read_bytes())["study"]
            found.append(NamedStudy(path.stem, frozenset(study["models"]), frozenset(study["datasets"])))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"{STUDIES}/{path.name}: describes no study ({error}); it needs study.models and study.datasets"
            ) from None
    return found


def read_yaml(content: bytes) -> Any:
    """Parsed YAML. Raises `ValueError` where it is none."""
    import yaml

    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from None
