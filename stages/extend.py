"""Every codec beyond the core: codes of a cell's documents, with the state fitted on a seeded sample of them."""

from dataclasses import fields
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, field_validator, model_validator
from pydantic import Field as Constraint

from stages.engine import Engine, open_engine
from stages.parallel import cores, side_by_side
from stages.sample import draw_sample
from stages.stage import CELL, Progress, Run, Section, Stage
from stages.stored_codes import description
from store.artifacts.codes import may_be_named
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.extended_codes import EXTENDED_CODES
from store.codecs.base import Codec, State
from store.codecs.registry import CODECS, build
from store.configuration import NO_SEED
from store.errors import InvalidInput
from store.growth import row_parts
from store.layout import check_label
from store.leaf import Leaf

STAGE = Stage(name="extend", per=CELL, section="extend", reads=(EMBEDDINGS,), writes=(EXTENDED_CODES,))

CORE = {"float32": "exact", "int8": "quantize", "phase1": "binarize", "pq": "quantize"}
"""Codecs that stages of their own compute, by key."""

Positive = Annotated[int, Constraint(ge=1)]
Seed = Annotated[int, Constraint(ge=0, lt=2**31)]


class Group(Section):
    """One codec with its settings, which stand beside ``codec``; ``seeds`` where it draws at random."""

    model_config = ConfigDict(extra="allow")

    codec: str
    seeds: tuple[Seed, ...] = ()

    @model_validator(mode="after")
    def _built(self) -> "Group":
        if self.codec in CORE:
            raise ValueError(f"codec {self.codec!r} is the business of the stage {CORE[self.codec]}")
        draws = self.codec in CODECS and "seed" in {field.name for field in fields(_class(self.codec))}
        if draws and not self.seeds:
            raise ValueError(f"seeds is missing: codec {self.codec} draws at random; give at least one")
        if self.seeds and not draws and self.codec in CODECS:
            raise ValueError(f"seeds is not one of the settings of codec {self.codec}, which draws nothing")
        if "seed" in self.settings:
            raise ValueError("seed is not a known key; write seeds, a list")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must be distinct")
        self.build()
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The codec's settings without its seed."""
        return dict(self.model_extra or {})

    def build(self) -> list[Codec]:
        """The codec, once for each seed; InvalidInput names what is wrong with a setting."""
        drawn: list[dict[str, int]] = [{"seed": seed} for seed in self.seeds] or [{}]
        return [build(self.codec, {**self.settings, **one}) for one in drawn]


class Params(Section):
    """At most ``fit_sample`` documents, drawn by ``fit_seed``, are fitted on; ``codecs`` are the groups by name."""

    fit_sample: Positive
    fit_seed: Seed
    codecs: Annotated[dict[str, Group], Constraint(min_length=1)]

    @field_validator("codecs")
    @classmethod
    def _distinct(cls, groups: dict[str, Group]) -> dict[str, Group]:
        sizes: dict[tuple[str, int], str] = {}
        for name, group in groups.items():
            check_label(name, "group")
            if not may_be_named(name, group.codec):
                raise ValueError(
                    f"the name of {name!r} must be {group.codec!r}, or begin with '{group.codec}-'"
                )
            size = group.build()[0].bytes_per_vector(1)
            other = sizes.setdefault((group.codec, size), name)
            if other != name:
                raise ValueError(
                    f"{other!r} and {name!r} are {group.codec} codes of one size, which no table tells apart"
                )
        return groups


def run(run: Run[Params]) -> None:
    """Fit each codec on the sample, then encode every document from what was fitted alone."""
    with open_engine(run.compute) as engine:
        _run(run, engine)


def _run(run: Run[Params], engine: Engine) -> None:
    embeddings = run.open(EMBEDDINGS)
    n, dimension = embeddings.size("document"), embeddings.size("dimension")
    sample = draw_sample(embeddings, run.params.fit_sample, run.params.fit_seed)
    groups = {name: group.build() for name, group in run.params.codecs.items()}

    def fit(job: tuple[str, Codec]) -> State:
        name, codec = job
        try:
            return codec.fit(sample)
        except InvalidInput as error:
            raise InvalidInput(f"extend.codecs.{name}: {error}") from None

    jobs = [(name, codec) for name, codecs in groups.items() for codec in codecs]
    fitted = dict(zip(jobs, side_by_side(fit, jobs, "fit", cores()), strict=True))
    progress = Progress("encode", len(jobs) * n, "codes")
    with run.commit(EXTENDED_CODES) as leaf:
        for name, codecs in groups.items():
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
            leaf.describe_group(name, **description(run.params.codecs[name].codec, codecs[0]))
        leaf.describe(**run.keys, fit_rows=len(sample))
    run.say(f"{len(groups)} codecs, {len(jobs)} fits on {len(sample)} documents")


def _encoded(embeddings: Leaf, codec: Codec, state: State, part: slice) -> NDArray[Any]:
    return codec.encode(state, embeddings.read("documents", part))


def _class(key: str) -> Any:
    return CODECS[key]
