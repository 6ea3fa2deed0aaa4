"""What a cell's settings ask for beyond its documents, queries or dimensions, told before anything expensive runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.params import ENCODED, PARAMS, Params
from pipeline.stage import DATASET, MODEL
from store.artifacts.judgements import JUDGEMENTS
from store.codecs.base import Codec, check_shape
from store.codecs.floats import Float32Codec
from store.codecs.settings import Group
from store.errors import BitlakeError, InvalidInput
from store.layout import Layout
from store.leaf.reading import open_leaf
from store.revisions.lock import locked_stages

ANY = 1 << 40
"""Stands for the number of documents or queries of a collection that was not read and is not bounded."""


Check = Callable[[Params, Mapping[str, str], "Size"], None]
"""Raises `InvalidInput` that begins with the field in its section."""


@dataclass(frozen=True)
class Size:
    """How much a cell has, or at most can have: ``searched`` are the documents that every query may find."""

    dimension: int
    documents: int
    searched: int
    queries: int


def check_study(root: Path, params: Params, content: Mapping[str, Any]) -> None:
    """Check every cell of the study, by the collections that were read with what ``content`` says of them.

    ``content`` is what ``params`` was parsed from. Raises `InvalidInput` naming the field in ``params.yaml``.
    """
    for keys in params.study.cells():
        read = _is_read(root, content, keys[DATASET])
        check_cell(params, keys, size_of(Layout(root), params, keys, read=read))


def size_of(layout: Layout, params: Params, keys: Mapping[str, str], *, read: bool = True) -> Size:
    """The size of a cell: with ``read`` that of the collection in the lake, if it is there, else the most allowed."""
    dimension, entry = params.models[keys[MODEL]].dimension, params.datasets[keys[DATASET]]
    documents = entry.max_documents or ANY
    most = Size(dimension, documents, documents, getattr(entry, "max_queries", ANY))
    # What is damaged is for the stage to say that reads it.
    with suppress(BitlakeError):
        if read:
            judgements = open_leaf(layout.leaf(JUDGEMENTS.artifact, {DATASET: keys[DATASET]}), JUDGEMENTS)
            documents = judgements.size("document")
            left_out = bool((judgements.read("self_row") >= 0).any())
            return Size(dimension, documents, documents - left_out, judgements.size("query"))
    return most


def _is_read(root: Path, content: Mapping[str, Any], dataset: str) -> bool:
    """Whether the collection in the lake was read with the settings that are there now."""
    with suppress(BitlakeError, KeyError):
        recorded = locked_stages(root)[f"corpus@{dataset}"]["params"][PARAMS]
        wanted = {f"datasets.{dataset}": content["datasets"][dataset], "corpus": content["corpus"]}
        return all(recorded.get(place) == value for place, value in wanted.items())
    return False


def check_cell(params: Params, keys: Mapping[str, str], size: Size, only: str = "") -> None:
    """Check the sections that a cell is computed with, or one of them. Raises `InvalidInput` naming the field."""
    for section, check in _CHECKS.items():
        if only in ("", section):
            try:
                check(params, keys, size)
            except InvalidInput as error:
                place = params.place(section, keys)
                said = str(error).removeprefix(section)
                raise InvalidInput(f"{PARAMS}: {place}{said} ({keys[MODEL]} × {keys[DATASET]})") from None


def _check_embed(params: Params, keys: Mapping[str, str], size: Size) -> None:
    k = params.section("embed").storage_k
    if k > size.searched:
        raise InvalidInput(
            f"embed.storage_k is {k}, but a query searches {size.searched} documents: lower it"
        )


def _check_codes(section: str) -> Check:
    """A check of a section that names codecs which are not fitted, or on at most its ``fit_sample`` documents."""

    def check(params: Params, keys: Mapping[str, str], size: Size) -> None:
        encoding = params.section(section, keys)
        check_fits(section, encoding.codecs, size, getattr(encoding, "fit_sample", ANY))

    return check


def check_fits(section: str, codecs: Mapping[str, Iterable[Group]], size: Size, fit_sample: int) -> None:
    """Refuse codecs, groups by key, that cannot be fitted on at most ``fit_sample`` documents of a cell."""
    for key, groups in codecs.items():
        place = f"{section}.codecs.{key}"
        for codec in (group.codecs[0] for group in groups):
            problem = _problem(codec, min(fit_sample, size.documents), size.dimension)
            if not problem:
                continue
            if fit_sample < size.documents and not _problem(codec, size.documents, size.dimension):
                raise InvalidInput(
                    f"{section}.fit_sample is {fit_sample}, too few for codecs.{key}: raise it"
                )
            setting = problem.partition(" ")[0] in {field.name for field in fields(codec)}  # type: ignore[arg-type]
            raise InvalidInput(f"{place}{'.' if setting else ': '}{problem}")


def _problem(codec: Codec, documents: int, dimension: int) -> str:
    try:
        check_shape(codec, documents, dimension)
    except InvalidInput as error:
        return str(error)
    return ""


def _check_search(params: Params, keys: Mapping[str, str], size: Size) -> None:
    k = params.section("search").k[-1]
    if k > size.searched:
        raise InvalidInput(f"search.k is {k}, but a query searches {size.searched} documents: lower it")


def _check_rescore(params: Params, keys: Mapping[str, str], size: Size) -> None:
    rescore = params.section("rescore", keys)
    sizes = {Float32Codec.name: [Float32Codec().bytes_per_vector(size.dimension)]}
    for section in ENCODED:
        for group in params.section(section, keys).groups():
            sizes.setdefault(group.key, []).append(group.codecs[0].bytes_per_vector(size.dimension))
    smallest = min(min(sizes[codec]) for codec in rescore.first)
    if all(sizes[codec][0] <= smallest for codec in rescore.second):
        raise InvalidInput(
            f"rescore.second: none is larger than the {smallest} bytes of the smallest first stage: add a larger one"
        )


def _check_geometry(params: Params, keys: Mapping[str, str], size: Size) -> None:
    params.section("geometry", keys).check_rows(size.documents, size.queries)


_CHECKS: Mapping[str, Check] = {
    "embed": _check_embed,
    **{section: _check_codes(section) for section in ENCODED},
    "search": _check_search,
    "rescore": _check_rescore,
    "geometry": _check_geometry,
}
