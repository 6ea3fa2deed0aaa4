"""From the settings of a codec in ``params.yaml`` to its instances, the same way for every codec."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from store.codecs.base import Codec
from store.errors import InvalidInput
from store.layout import check_label
from store.validation import first_problem

Codecs = Mapping[str, type[Codec]]
"""Classes of codecs by key."""

SEED = "seed"
_SEEDS = "seeds"
_SEED_END = 1 << 31


@dataclasses.dataclass(frozen=True)
class Group:
    """A codec of one length, once for each seed. The lake keeps its codes under ``name``; ``key`` is the codec's."""

    name: str
    key: str
    codecs: tuple[Codec, ...]


def key_of(codec: Any) -> str:
    """The key of a codec or its class: the name, and ``name-variant`` for what is not the plain variant."""
    return f"{codec.name}-{codec.variant}" if codec.variant else str(codec.name)


def by_key(*classes: Any) -> Codecs:
    """The classes by key."""
    return {key_of(one): one for one in classes}


def build(kind: type[Codec], settings: Mapping[str, object]) -> Codec:
    """The codec of that class with these settings: all of its own, and no others.

    Raises InvalidInput, naming codec and setting, for anything else.
    """
    codec: Any = kind
    key, types = key_of(codec), get_type_hints(codec)
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


def groups(codecs: Codecs, key: str, settings: Any) -> tuple[Group, ...]:
    """The codec ``key``, one of ``codecs``, in each of its lengths.

    ``settings`` are those of its class. One of them may be a list: that of the length, and a group is named
    ``<key>-<value>`` after its value, otherwise after the key. A codec that draws at random has a list ``seeds`` in the
    place of its setting ``seed``. Raises InvalidInput, naming the setting, for anything else.
    """
    if key not in codecs:
        raise InvalidInput(f"codec {key!r} is not known here: choose one of {', '.join(codecs)}")
    if not isinstance(settings, dict):
        raise InvalidInput(f"expected settings by name, got {settings!r}")
    drawn = _drawn(codecs[key], key, settings)
    plain = {name: value for name, value in settings.items() if name != _SEEDS}
    listed = [name for name, value in plain.items() if isinstance(value, list)]
    if len(listed) > 1:
        raise InvalidInput(f"{' and '.join(listed)} are lists: one setting may be, that of the length")

    def group(name: str, length: Mapping[str, object]) -> Group:
        return Group(name, key, tuple(build(codecs[key], {**plain, **length, **seed}) for seed in drawn))

    if not listed:
        return (group(key, {}),)
    (length,) = listed
    values = plain[length]
    if not values or len(set(map(str, values))) != len(values):
        raise InvalidInput(f"{length}: give at least one value, and each once")
    found = tuple(group(check_label(f"{key}-{value}", length), {length: value}) for value in values)
    _check_sizes(found)
    return found


def _drawn(kind: Any, key: str, settings: Mapping[str, Any]) -> list[dict[str, int]]:
    """The setting ``seed`` for each seed; one that is empty where the codec draws nothing."""
    draws = SEED in {field.name for field in dataclasses.fields(kind)}
    seeds = settings.get(_SEEDS)
    if not draws:
        if seeds is not None:
            raise InvalidInput(f"{_SEEDS} is not one of the settings of codec {key}, which draws nothing")
        return [{}]
    if SEED in settings:
        raise InvalidInput(f"{SEED} is not a known key; write {_SEEDS}, a list")
    if not seeds:
        raise InvalidInput(f"{_SEEDS} is missing: codec {key} draws at random; give at least one")
    if not isinstance(seeds, list) or not all(type(seed) is int and 0 <= seed < _SEED_END for seed in seeds):
        raise InvalidInput(f"{_SEEDS}: give whole numbers from 0 to {_SEED_END - 1}; got {seeds!r}")
    if len(set(seeds)) != len(seeds):
        raise InvalidInput("seeds must be distinct")
    return [{SEED: seed} for seed in seeds]


def _check_sizes(found: Iterable[Group]) -> None:
    sizes: dict[int, str] = {}
    for group in found:
        other = sizes.setdefault(group.codecs[0].bytes_per_vector(1), group.name)
        if other != group.name:
            raise InvalidInput(f"{other} and {group.name} are codes of one size, which no table tells apart")
