"""Every codec by name, found among the modules of this package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from store.codecs.base import Codec
from store.codecs.settings import key_of


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
    codecs = {key_of(offer): offer for offer in offers}
    for offer in offers:
        if codecs[key_of(offer)] is not offer:
            raise ValueError(
                f"codec {key_of(offer)!r} is offered by {offer.__module__} and by {codecs[key_of(offer)].__module__}: "
                "rename one of them"
            )
    return MappingProxyType({key: codecs[key] for key in sorted(codecs)})


def _offers(module: ModuleType) -> Iterable[Any]:
    return getattr(module, "OFFERS", ())


CODECS: Mapping[str, type[Codec]] = discovered(importlib.import_module("store.codecs"))
