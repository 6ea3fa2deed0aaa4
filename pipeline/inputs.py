"""The leaves that a run has opened: each is what its path says, and all of them belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from store.errors import BitlakeError, DamagedArtifact, InvalidInput
from store.layout import Layout, leaf_path
from store.leaf.origin import Origin, disagreements, remedy, step_of
from store.leaf.reading import Leaf, open_leaf
from store.leaf.schema import Schema

Makers = Mapping[str, tuple[str, Schema]]
"""The stage that makes an artifact, and the artifact's schema, by the artifact's name."""


@dataclass
class Inputs:
    """The leaves of one run by path; ``used`` are the paths of those that the stage itself has asked for."""

    layout: Layout
    makers: Makers
    leaves: dict[str, Leaf] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def open(self, schema: Schema, keys: Mapping[str, str]) -> Leaf:
        """The leaf of ``schema`` with ``keys``, opened once.

        Raises `DamagedArtifact` where it is another than its path says, or does not belong to those opened before.
        """
        path = leaf_path(schema.artifact, keys)
        self.used.add(path)
        if path not in self.leaves:
            self.leaves[path] = self._opened(path, schema, keys)
            self._compare(self.leaves)
        return self.leaves[path]

    def compare(self, wanted: Iterable[tuple[Schema, Mapping[str, str]]]) -> None:
        """Open what is wanted, and compare it with itself and with what it was made from, where that is here."""
        for schema, keys in wanted:
            path = leaf_path(schema.artifact, keys)
            if path not in self.leaves:
                self.leaves[path] = self._opened(path, schema, keys)
        self._compare({**self.leaves, **dict(self._sources())})

    def _opened(self, path: str, schema: Schema, keys: Mapping[str, str]) -> Leaf:
        leaf = open_leaf(self.layout.root / path, schema)
        own = {name: leaf.attributes.get(name) for name in keys}
        if own != dict(keys):
            said = " × ".join(map(str, own.values()))
            raise DamagedArtifact(f"{path}: is a copy of that of {said}; {self._remedy(path)}")
        return leaf

    def _remedy(self, path: str) -> str:
        return remedy(step_of(self.makers.get(path.split("/")[1], ("", None))[0], path))

    def _sources(self) -> Iterator[tuple[str, Leaf]]:
        """Leaves that are here, and that others were made from."""
        named = {source for leaf in self.leaves.values() for source in leaf.origin.leaves}
        for path in sorted(named - self.leaves.keys()):
            artifact = path.split("/")[1]
            # What is damaged is no concern of a run that does not read it.
            with suppress(BitlakeError):
                if artifact in self.makers:
                    yield path, open_leaf(self.layout.root / path, self.makers[artifact][1])

    def _compare(self, leaves: Mapping[str, Leaf]) -> None:
        for found in disagreements(leaves):
            raise DamagedArtifact(f"{found.path}: {found.problem}; {self._remedy(found.path)}")

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """What is made from the leaves that were used. Raises `InvalidInput` where one of them has been replaced."""
        used = {path: self.leaves[path] for path in sorted(self.used)}
        for path, leaf in used.items():
            if open_leaf(self.layout.root / path, leaf.schema).identity != leaf.identity:
                raise InvalidInput(
                    f"{path}: was replaced while it was being read; run again what was made from it"
                )
        return Origin.of_inputs(used, settings)
