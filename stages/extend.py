"""Every codec beyond the core: codes of a cell's documents, with the state fitted on a seeded sample of them."""

from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, field_validator, model_validator
from pydantic import Field as Constraint

from pipeline.executors import Engine, open_engine
from pipeline.sample import draw_sample
from pipeline.stage import CELL, Run, Section, Stage
from pipeline.stored_codes import description
from store.artifacts.configuration import NO_SEED
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.extended_codes import EXTENDED_CODES
from store.codecs.base import Codec, State
from store.codecs.registry import CODECS, build
from store.errors import InvalidInput
from store.layout import check_label
from store.leaf.growth import row_parts
from store.leaf.reading import Leaf
from store.progress import Progress
from store.threads import cores, side_by_side

STAGE = Stage(name="extend", per=CELL, section="extend", reads=(EMBEDDINGS,), writes=(EXTENDED_CODES,))

CORE = {"float32": "exact", "int8": "quantize", "phase1": "binarize", "pq": "quantize"}
"""Codecs that stages of their own compute, by key."""

Positive = Annotated[int, Constraint(ge=1)]
Seed = Annotated[int, Constraint(ge=0, lt=2**31)]


@dataclass(frozen=True)
class Group:
    """One codec in one length, once for each seed; ``key`` is its codec's in the registry."""

    key: str
    codecs: tuple[Codec, ...]


class Settings(Section):
    """The settings of the codec ``codec``, of which one may be a list: then each of its values is a group.

    ``seeds`` are given where the codec draws at random.
    """

    model_config = ConfigDict(extra="allow")

    codec: str
    seeds: tuple[Seed, ...] = ()

    @model_validator(mode="after")
    def _built(self) -> "Settings":
        if self.codec in CORE:
            raise ValueError(f"codec {self.codec!r} is the business of the stage {CORE[self.codec]}")
        draws = self.codec in CODECS and "seed" in {field.name for field in fields(_class(self.codec))}
        if draws and not self.seeds:
            raise ValueError(f"seeds is missing: codec {self.codec} draws at random; give at least one")
        if self.seeds and not draws and self.codec in CODECS:
            raise ValueError(f"seeds is not one of the settings of codec {self.codec}, which draws nothing")
        if "seed" in (self.model_extra or {}):
            raise ValueError("seed is not a known key; write seeds, a list")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must be distinct")
        sizes: dict[int, str] = {}
        for name, group in self.groups().items():
            size = group.codecs[0].bytes_per_vector(1)
            other = sizes.setdefault(size, name)
            if other != name:
                raise ValueError(f"{other} and {name} are codes of one size, which no table tells apart")
        return self

    def groups(self) -> dict[str, Group]:
        """Each length by its name, which is the codec's where there is one alone, else ``<codec>-<value>``.

        InvalidInput names what is wrong with a setting.
        """
        settings = dict(self.model_extra or {})
        listed = [name for name, value in settings.items() if isinstance(value, list)]
        if len(listed) > 1:
            raise InvalidInput(f"{' and '.join(listed)} are lists: one setting may be, that of the length")
        if not listed:
            return {self.codec: self._group(settings)}
        (length,) = listed
        values = settings[length]
        if not values or len(set(map(str, values))) != len(values):
            raise InvalidInput(f"{length}: give at least one value, and each once")
        return {
            check_label(f"{self.codec}-{value}", length): self._group({**settings, length: value})
            for value in values
        }

    def _group(self, settings: dict[str, Any]) -> Group:
        drawn: list[dict[str, int]] = [{"seed": seed} for seed in self.seeds] or [{}]
        return Group(self.codec, tuple(build(self.codec, {**settings, **one}) for one in drawn))


class Params(Section):
    """At most ``fit_sample`` documents, drawn by ``fit_seed``, are fitted on; ``codecs`` are settings by codec."""

    fit_sample: Positive
    fit_seed: Seed
    codecs: Annotated[dict[str, Settings], Constraint(min_length=1)]

    @field_validator("codecs", mode="before")
    @classmethod
    def _named(cls, codecs: Any) -> Any:
        """Settings with the codec whose they are."""
        if not isinstance(codecs, dict):
            return codecs
        named = {}
        for key, settings in codecs.items():
            if isinstance(settings, dict) and "codec" in settings:
                raise ValueError(f"{key}: codec is not a known key; name the entry after its codec")
            named[key] = {**settings, "codec": key} if isinstance(settings, dict) else settings
        return named

    def groups(self) -> dict[str, Group]:
        """Every codec in every length, by name."""
        return {name: group for settings in self.codecs.values() for name, group in settings.groups().items()}


def run(run: Run[Params]) -> None:
    """Fit each codec on the sample, then encode every document from what was fitted alone."""
    with open_engine() as engine:
        _run(run, engine)


def _run(run: Run[Params], engine: Engine) -> None:
    embeddings = run.open(EMBEDDINGS)
    n, dimension = embeddings.size("document"), embeddings.size("dimension")
    sample = draw_sample(embeddings, run.params.fit_sample, run.params.fit_seed)
    groups = run.params.groups()

    def fit(job: tuple[str, Codec]) -> State:
        name, codec = job
        try:
            return codec.fit(sample)
        except InvalidInput as error:
            raise InvalidInput(f"extend.codecs.{groups[name].key}: {error}") from None

    jobs = [(name, codec) for name, group in groups.items() for codec in group.codecs]
    fitted = dict(zip(jobs, side_by_side(fit, jobs, "fit", cores()), strict=True))
    progress = Progress("encode", len(jobs) * n, "codes")
    with run.commit(EXTENDED_CODES) as leaf:
        for name, group in groups.items():
            codecs = group.codecs
            states = [fitted[name, codec] for codec in codecs]
            for key in codecs[0].STATE:
                leaf.write(f"{name}/{key}", np.stack([state[key] for state in states]))
            codes = leaf.create(f"{name}/documents", (len(codecs), n, codecs[0].bytes_per_vector(dimension)))
            for index, (codec, state) in enumerate(zip(codecs, states, strict=True)):
                parts = ((part,) for part in row_parts(n))
                blocks = engine.in_order(partial(_encoded, embeddings, codec, state), parts)
                leaf.fill(codes, progress.watch(blocks), index)
            seeds = [getattr(codec, "seed", NO_SEED) for codec in codecs]
            leaf.write(f"{name}/seed", np.array(seeds, np.int32))
            leaf.describe_group(name, **description(group.key, codecs[0]))
        leaf.describe(**run.keys, fit_rows=len(sample))
    run.say(f"{len(groups)} codecs, {len(jobs)} fits on {len(sample)} documents")


def _encoded(embeddings: Leaf, codec: Codec, state: State, part: slice) -> NDArray[Any]:
    return codec.encode(state, embeddings.read("documents", part))


def _class(key: str) -> Any:
    return CODECS[key]
