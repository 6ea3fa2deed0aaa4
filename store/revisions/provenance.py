"""Leaves that are whole, and what the lock file says, and still not what they should be: made from something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from store.artifacts.judgements import JUDGEMENTS
from store.corpora.agreement import are_texts_of
from store.errors import BitlakeError
from store.layout import CORPORA
from store.leaf.origin import disagreements, remedy
from store.leaf.reading import Leaf
from store.revisions.lock import LOCK, locked_stages
from store.revisions.revision import Revision

PARAMS = "params.yaml"
SWEEPS = "sweeps."

Mismatch: TypeAlias = tuple[str, str, str]
"""A path, what is wrong with it, and what to do about it."""


def steps(revision: Revision) -> dict[str, str]:
    """What DVC calls the stage that makes each output, by the output's path."""
    # Not `addressing`, which for a reader in another folder holds a path.
    return {out.def_path.lstrip("/"): str(getattr(out.stage, "name", "")) for out in revision.repo.index.outs}


def forced(step: str) -> str:
    """How to make again what the lock file takes for right."""
    return f"run `dvc repro -f -s {step}`"


def mismatches(revision: Revision, leaves: Mapping[str, Leaf]) -> Iterator[Mismatch]:
    """What does not belong together in a workspace, whose sound leaves are given by path."""
    yield from disagreeing(revision, leaves)
    yield from _settings(revision, leaves)
    yield from _texts(revision, leaves)


def disagreeing(revision: Revision, leaves: Mapping[str, Leaf]) -> Iterator[Mismatch]:
    """Leaves that are of another corpus, or were made from others, than those beside them."""
    makers = steps(revision)
    for found in disagreements(leaves):
        yield found.path, found.problem, remedy(makers[found.path])


def _settings(revision: Revision, leaves: Mapping[str, Leaf]) -> Iterator[Mismatch]:
    """Leaves that were made with other settings than the lock file has for them, where they say so."""
    for step, entry in locked_stages(revision.root).items():
        for path in (out["path"] for out in entry.get("outs", ()) if out["path"] in leaves):
            settings = leaves[path].origin.settings
            for place, value in entry.get("params", {}).get(PARAMS, {}).items():
                # A section of a sweep means what the common one does.
                name = place.split(".", 2)[2] if place.startswith(SWEEPS) else place
                if name in settings and settings[name] != value:
                    yield path, f"was made with another {name} than {LOCK} says", forced(step)


def _texts(revision: Revision, leaves: Mapping[str, Leaf]) -> Iterator[Mismatch]:
    """Texts that are not those of the judgements of their dataset."""
    makers = steps(revision)
    for path, leaf in leaves.items():
        if leaf.schema is not JUDGEMENTS:
            continue
        texts = f"{CORPORA}/{leaf.attributes['dataset']}"
        try:
            if not are_texts_of(revision.root / texts, leaf):
                yield texts, f"its texts are not those of {path}", remedy(makers[path])
        except BitlakeError as error:
            problem = str(error).removeprefix(f"{revision.root}/").partition("; ")[0]
            yield texts, f"cannot be read ({problem})", remedy(makers[path])
