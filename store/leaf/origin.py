"""Where a leaf comes from, as it records itself, and whether leaves that are read together belong together.

A leaf records its corpora, the leaves it was made from, and the settings. Leaves older than this record have none, and
are accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from store.errors import InvalidInput
from store.layout import LAKE, check_label
from store.leaf.schema import Schema

_KEY = "origin"


@dataclass(frozen=True)
class Origin:
    """What a leaf was made from.

    corpora: digest of the corpus by dataset. leaves: identity, by path in the project, of every leaf that it was
    computed from, directly or indirectly. settings: the sections of ``params.yaml`` that it was made with.
    """

    corpora: Mapping[str, str] = field(default_factory=dict)
    leaves: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_inputs(cls, inputs: Mapping[str, Stating], settings: Mapping[str, Any]) -> Origin:
        """The origin of a leaf that is computed with ``settings`` from ``inputs``, leaves by path."""
        corpora: dict[str, str] = {}
        leaves: dict[str, str] = {}
        for path, leaf in inputs.items():
            corpora |= leaf.origin.corpora
            leaves |= {**leaf.origin.leaves, path: leaf.identity}
        return cls(corpora, leaves, settings)

    @classmethod
    def stated(cls, contents: Mapping[str, Any], attributes: Mapping[str, Any]) -> Origin:
        """What a leaf's own list of contents, and its attributes, say. InvalidInput where that is no origin."""
        found = contents.get(_KEY, {})
        parts = [found.get(name, {}) for name in ("corpora", "leaves", "settings")]
        if not all(isinstance(part, dict) for part in parts) or not all(
            isinstance(value, str) for part in parts[:2] for value in part.values()
        ):
            raise InvalidInput(f"{_KEY}: is not what Bitlake writes")
        corpora, leaves, settings = parts
        for path in leaves:
            root, *labels = path.split("/")
            if root != LAKE or not labels:
                raise InvalidInput(f"{_KEY}: {path!r} is no artifact of the lake")
            for label in labels:
                check_label(label, _KEY)
        known = attributes.get("dataset"), attributes.get("corpus_digest")
        own = {known[0]: known[1]} if all(isinstance(value, str) for value in known) else {}
        return cls(corpora | own, leaves, settings)

    def as_json(self) -> dict[str, Any]:
        """What the leaf's list of contents says of it; nothing where there is nothing to say."""
        parts = {"corpora": self.corpora, "leaves": self.leaves, "settings": self.settings}
        said = {name: dict(part) for name, part in parts.items() if part}
        return {_KEY: said} if said else {}


class Stating(Protocol):
    """A leaf, as far as it is compared with others."""

    @property
    def schema(self) -> Schema:
        """What the leaf is."""

    @property
    def identity(self) -> str:
        """Digest of what it holds."""

    @property
    def origin(self) -> Origin:
        """What it says that it was made from."""


@dataclass(frozen=True)
class Disagreement:
    """The leaf at ``path``, or what it was made from, does not belong to another leaf: ``problem`` says why."""

    path: str
    problem: str


def disagreements(leaves: Mapping[str, Stating]) -> Iterator[Disagreement]:
    """Where leaves, by path in the project, do not belong together; what the others were made from comes first."""
    corpora: dict[str, tuple[str, str]] = {}
    sources: dict[str, tuple[str, str]] = {}
    for path in upstream_first(leaves):
        origin = leaves[path].origin
        for dataset, digest in sorted(origin.corpora.items()):
            first, known = corpora.setdefault(dataset, (path, digest))
            if digest != known:
                yield Disagreement(path, f"is of another corpus {dataset} than {first}")
                break
        else:
            for source, identity in sorted(origin.leaves.items()):
                if source in leaves and leaves[source].identity != identity:
                    yield Disagreement(path, f"was made from another {source} than the one that is here")
                    break
                first, known = sources.setdefault(source, (path, identity))
                if identity != known:
                    yield Disagreement(path, f"was made from another {source} than {first} was")
                    break


def upstream_first(leaves: Mapping[str, Stating]) -> Iterable[str]:
    """Paths of leaves, those that others are made from before the others."""

    def place(path: str) -> tuple[int, int, str]:
        leaf = leaves[path]
        # Of leaves that do not say what they were made from, those of a dataset come before those of a cell.
        return len(leaf.origin.leaves), len(leaf.schema.keys), path

    return sorted(leaves, key=place)


def step_of(stage: str, path: str) -> str:
    """What DVC calls the run of ``stage`` that makes the leaf at ``path``."""
    keys = "-".join(path.split("/")[2:])
    return f"{stage}@{keys}" if keys else stage


def remedy(step: str) -> str:
    """How to make the output of ``step`` again, whether or not DVC finds it stale."""
    return f"run `dvc repro {step}`, or `dvc repro -f -s {step}` where DVC finds nothing to do"
