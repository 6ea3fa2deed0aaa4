"""``params.yaml`` as frozen typed objects: parsed whole, so that a mistake anywhere is found before work begins."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pipeline.stage import DATASET, MODEL, Section, Stage, Study
from store.codecs.registry import CODECS
from store.corpora.spec import DatasetSpec
from store.encoders.spec import EncoderSpec
from store.errors import InvalidInput
from store.layout import check_label
from store.validation import first_problem
from store.yaml_files import read_yaml

PARAMS = "params.yaml"
LONGEST_LABEL = 100
"""Characters; a file system takes names of 255, and some hold a stage and both labels."""

SWEEPS = "sweeps"

SWEPT = ("binarize", "quantize", "extend", "search_further", "rescore", "geometry")
"""Sections that a sweep may state anew for its cells."""

ENCODED = ("binarize", "quantize", "extend")
"""Sections of the stages that encode: all codecs that have codes in the lake. Those of float32 are the embeddings."""

MODULES = (
    "corpus",
    "embed",
    "binarize",
    "quantize",
    "extend",
    "exact",
    "search_binary",
    "search_quantized",
    "geometry",
    "predict",
    "quality",
    "search_further",
    "rescore",
    "quality_further",
    "results",
    "regimes",
    "failures",
    "correlate",
    "theory",
    "report",
)
"""The stage modules, in the order of the graph."""


def _modules() -> list[ModuleType]:
    return [importlib.import_module(f"stages.{module}") for module in MODULES]


def stages() -> dict[str, Stage]:
    """Every stage by name, in the order of the graph."""
    return {module.STAGE.name: module.STAGE for module in _modules()}


def section_types() -> dict[str, type]:
    """The type of every section of ``params.yaml`` that belongs to stages."""
    return {module.STAGE.section: module.Params for module in _modules() if module.STAGE.section}


class Params(BaseModel):
    """The whole file. Sections of stages are attributes of the subclass that `parse` builds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Study
    models: dict[str, EncoderSpec]
    datasets: dict[str, DatasetSpec]

    def section(self, name: str, keys: Mapping[str, str] = MappingProxyType({})) -> Any:
        """The parsed section ``name``; for the keys of a cell that of the cell's sweep, if the sweep states it."""
        found: Any = self
        for part in self.place(name, keys).split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        return found

    def place(self, name: str, keys: Mapping[str, str] = MappingProxyType({})) -> str:
        """Where in ``params.yaml`` the section ``name`` stands for the keys of a cell, with dots."""
        sweep = self.study.sweeps.get(keys.get(MODEL, ""), {}).get(keys.get(DATASET, ""))
        stated = name in SWEPT and sweep and getattr(self.section(SWEEPS)[sweep], name) is not None
        return f"{SWEEPS}.{sweep}.{name}" if stated else name


def parse(content: Mapping[str, Any]) -> Params:
    """Check and freeze the content of ``params.yaml``.

    Raises `InvalidInput` with one line that names the first wrong field, what was expected and what came.
    """
    types = section_types()
    fields: dict[str, Any] = {section: (kind, ...) for section, kind in types.items()}
    stated: dict[str, Any] = {section: (types[section] | None, None) for section in SWEPT}
    sweep = create_model("Sweep", __base__=Section, **stated)
    # A type that is made here is none to a checker that does not run the code.
    fields[SWEEPS] = (dict[str, sweep], ...)  # type: ignore[valid-type]
    kind = create_model("StudyParams", __base__=Params, **fields)
    try:
        params = kind.model_validate(content)
    except ValidationError as error:
        raise InvalidInput(f"{PARAMS}: {first_problem(error)}") from None
    _check_references(params)
    return params


def load(root: Path) -> Params:
    """The parameters of the project at ``root``."""
    return parse(read_yaml(root / PARAMS))


def _check_references(params: Params) -> None:
    for kind, known in (("models", params.models), ("datasets", params.datasets)):
        for label in known:
            _check_name(label, f"{PARAMS}: {kind}.{label}")
        chosen = getattr(params.study, kind)
        if not chosen:
            raise InvalidInput(f"{PARAMS}: study.{kind}: is empty; name at least one of {', '.join(known)}")
        for position, label in enumerate(chosen):
            if label not in known:
                raise InvalidInput(
                    f"{PARAMS}: study.{kind}.{position}: {label!r} is not one of {kind}: {', '.join(known)}"
                )
            if label in chosen[:position]:
                raise InvalidInput(f"{PARAMS}: study.{kind}.{position}: {label!r} is named twice")
            for other in chosen[:position]:
                if label.casefold() == other.casefold():
                    raise InvalidInput(
                        f"{PARAMS}: study.{kind}.{position}: {label!r} and {other!r} are one folder on some file "
                        "systems: rename one of them"
                    )
    _check_cell_names(params)
    _check_sweeps(params)
    k = params.section("search").k
    for section in ("results.headline", "correlate", "regimes", "failures"):
        chosen_k = attrgetter(section)(params).k
        if chosen_k not in k:
            raise InvalidInput(f"{PARAMS}: {section}.k: {chosen_k} is not one of search.k, {list(k)}")
    _check_codecs(params, "", params.section)
    for name, sweep in params.section(SWEEPS).items():
        _check_codecs(params, f"{SWEEPS}.{name}.", partial(_stated, params, sweep))
    _check_compared(params)


def _stated(params: Params, sweep: Any, section: str) -> Any:
    return getattr(sweep, section) or params.section(section)


def _check_name(label: str, field: str) -> None:
    """Refuse a label that a shell, YAML or a file system reads otherwise."""
    check_label(label, field)
    if label.startswith("-"):
        raise InvalidInput(
            f"{field}: {label!r} begins like an option of a command: begin with a letter or a digit"
        )
    if len(label) > LONGEST_LABEL:
        raise InvalidInput(
            f"{field}: is a label of {len(label)} characters: give at most {LONGEST_LABEL}, as file names hold two"
        )
    if not _is_text(label):
        raise InvalidInput(
            f"{field}: {label!r} is no text in YAML, whose readers differ: add a letter, as in x{label}"
        )


def _is_text(label: str) -> bool:
    """Whether neither YAML 1.1 nor 1.2 reads a label as a number, a date, a truth value or nothing."""
    for number in (float, partial(int, base=0)):
        with suppress(ValueError):
            number(label)
            return False
    return isinstance(yaml.safe_load(label), str)


def _check_cell_names(params: Params) -> None:
    """DVC names the stages of a cell by both labels with a dash between them."""
    named: dict[str, str] = {}
    for keys in params.study.cells():
        cell = " × ".join(keys.values())
        other = named.setdefault("-".join(keys.values()), cell)
        if other != cell:
            raise InvalidInput(
                f"{PARAMS}: study: {other} and {cell} are both called {'-'.join(keys.values())} by DVC: "
                "rename one of the models or datasets"
            )


def _check_sweeps(params: Params) -> None:
    study, sweeps = params.study, params.section(SWEEPS)
    for label in sweeps:
        _check_name(label, f"{PARAMS}: {SWEEPS}.{label}")
    for model, chosen in study.sweeps.items():
        if model not in study.models:
            raise InvalidInput(f"{PARAMS}: study.sweeps.{model}: is not one of study.models")
        for dataset, sweep in chosen.items():
            field = f"{PARAMS}: study.sweeps.{model}.{dataset}"
            if dataset not in study.datasets:
                raise InvalidInput(f"{field}: is not one of study.datasets")
            if sweep not in sweeps:
                raise InvalidInput(f"{field}: {sweep!r} is not one of {SWEEPS}: {', '.join(sweeps)}")


def _check_codecs(params: Params, where: str, section: Callable[[str], Any]) -> None:
    """What is searched has codes; ``where`` is the sweep, with a dot behind it, that ``section`` gives sections of."""
    k, rescore = params.section("search").k, section("rescore")
    if rescore.k not in k:
        raise InvalidInput(f"{PARAMS}: {where}rescore.k: {rescore.k} is not one of search.k, {list(k)}")
    stored = [codec for name in ENCODED for codec in section(name).codecs]
    for field, codecs, known in (
        ("search_further.asymmetric", section("search_further").asymmetric, stored),
        ("rescore.first", rescore.first, stored),
        ("rescore.second", rescore.second, [*stored, "float32"]),
    ):
        for codec in codecs:
            if codec not in known:
                raise InvalidInput(
                    f"{PARAMS}: {where}{field}: {codec!r} has no codes in this study; "
                    f"choose among {', '.join(known)}, or add it to {where}extend.codecs"
                )


def _check_compared(params: Params) -> None:
    """What the tables of the study name is in some cell."""
    searched = {"float32"}
    for keys in params.study.cells():
        searched.update(codec for name in ENCODED for codec in params.section(name, keys).codecs)
    kinds: Mapping[str, Any] = CODECS
    names = sorted({kinds[key].name for key in searched})
    compared = {
        f"results.headline.codecs.{name}": codec
        for name, (codec, _) in params.section("results").headline.codecs.items()
    }
    for section, sides in (("regimes", ("first", "second")), ("failures", ("codec", "reference"))):
        for side in sides:
            chosen = getattr(params.section(section), side)
            compared[f"{section}.{side}"] = getattr(chosen, "codec", chosen)
    for side in ("codec", "reference"):
        compared[f"correlate.{side}"] = getattr(params.section("correlate"), side)
    for field, codec in compared.items():
        if codec not in names:
            raise InvalidInput(
                f"{PARAMS}: {field}: {codec!r} has no codes in this study; choose among {', '.join(names)}"
            )
