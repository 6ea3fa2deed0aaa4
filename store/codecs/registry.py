"""Every codec by name: found among the modules of this package, built from plain settings."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from store.codecs.base import Codec
from store.errors import InvalidInput
from store.validation import first_problem


def discovered(package: ModuleType) -> Mapping[str, type[Codec]]:
    """The codecs that the modules of a package offer, by key and in the order of the keys.

    A module offers the classes in its tuple `OFFERS`. A key is the codec's name, and `name-variant` for what is
    not the plain variant. Raises ValueError where two classes have one key.
    """
    offers = [
        offer
        for module in pkgutil.iter_modules(package.__path__)
        for offer in _offers(importlib.import_module(f"{package.__name__}.{module.name}"))
    ]
    codecs = {_key(offer): offer for offer in offers}
    for offer in offers:
        if codecs[_key(offer)] is not offer:
            raise ValueError(
                f"codec {_key(offer)!r} is offered by {offer.__module__} and by {codecs[_key(offer)].__module__}: "
                "rename one of them"
            )
    return MappingProxyType({key: codecs[key] for key in sorted(codecs)})


def _offers(module: ModuleType) -> Iterable[Any]:
    return getattr(module, "OFFERS", ())


def _key(codec: Any) -> str:
    return f"{codec.name}-{codec.variant}" if codec.variant else str(codec.name)


CODECS: Mapping[str, type[Codec]] = discovered(importlib.import_module("store.codecs"))


def build(key: str, settings: Mapping[str, object]) -> Codec:
    """The codec of that key in CODECS with these settings: all of its own, and no others.

    Raises InvalidInput, naming codec and setting, for anything else.
    """
    if key not in CODECS:
        raise InvalidInput(f"codec {key!r} is not known: choose one of {', '.join(CODECS)}")
    codec: Any = CODECS[key]
    types = get_type_hints(codec)
    fields: Any = {field.name: (types[field.name], ...) for field in dataclasses.fields(codec)}
    try:
        checked = create_model(key, __base__=_Settings, **fields).model_validate(dict(settings))
    except ValidationError as error:
        raise InvalidInput(f"codec {key}: {first_problem(error, list(fields))}") from None
    try:
        built: Codec = codec(**checked.model_dump())
    except InvalidInput as error:
        raise InvalidInput(f"codec {key}: {error}") from None
    return built


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
