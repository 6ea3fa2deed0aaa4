"""What a cell's settings ask for beyond its documents, queries or dimensions, told before anything expensive runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.params import PARAMS, Params
from pipeline.stage import DATASET, MODEL
from store.artifacts.judgements import JUDGEMENTS
from store.codecs.base import Codec, check_shape
from store.codecs.floats import Float32Codec
from store.codecs.int8 import Int8Codec
from store.codecs.pq import PQCodec
from store.errors import BitlakeError, InvalidInput
from store.layout import Layout
from store.leaf.reading import open_leaf
from store.revisions.lock import locked_stages

ANY = 1 << 40
"""Stands for the number of documents or queries of a collection that was not read and is not bounded."""


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


def _check_quantize(params: Params, keys: Mapping[str, str], size: Size) -> None:
    quantize = params.section("quantize", keys)
    codecs = [PQCodec(bytes_, 0, quantize.pq.iterations) for bytes_ in quantize.pq.bytes]
    # The setting is called otherwise in the file; without any length PQ is left out.
    renamed = {"code_bytes": "bytes", "leave PQ out": "leave PQ out with bytes: []"}
    check_fits("quantize", {"pq": codecs}, size, quantize.fit_sample, renamed)


def _check_extend(params: Params, keys: Mapping[str, str], size: Size) -> None:
    extend = params.section("extend", keys)
    codecs: dict[str, list[Codec]] = {}
    for group in extend.groups().values():
        codecs.setdefault(f"codecs.{group.key}", []).append(group.codecs[0])
    check_fits("extend", codecs, size, extend.fit_sample)


def check_fits(
    section: str,
    codecs: Mapping[str, Iterable[Codec]],
    size: Size,
    fit_sample: int,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Refuse codecs that cannot be fitted on at most ``fit_sample`` documents of a cell.

    ``codecs`` are by their place in the section; ``renamed`` are words of theirs as the file has them.
    """
    for place, every in codecs.items():
        for codec in every:
            problem = _problem(codec, min(fit_sample, size.documents), size.dimension)
            if not problem:
                continue
            if fit_sample < size.documents and not _problem(codec, size.documents, size.dimension):
                raise InvalidInput(f"{section}.fit_sample is {fit_sample}, too few for {place}: raise it")
            setting = problem.partition(" ")[0] in {field.name for field in fields(codec)}  # type: ignore[arg-type]
            for word, other in (renamed or {}).items():
                problem = problem.replace(word, other)
            raise InvalidInput(f"{section}.{place}{'.' if setting else ': '}{problem}")


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


def _check_search_extended(params: Params, keys: Mapping[str, str], size: Size) -> None:
    rescore = params.section("search_extended", keys).rescore
    sizes: dict[str, Sequence[int]] = {
        "phase1": [bits // 8 for bits in params.section("binarize", keys).bits],
        "pq": params.section("quantize", keys).pq.bytes,
        "int8": [Int8Codec().bytes_per_vector(size.dimension)],
        "float32": [Float32Codec().bytes_per_vector(size.dimension)],
    }
    for group in params.section("extend", keys).groups().values():
        own = group.codecs[0].bytes_per_vector(size.dimension)
        sizes[group.key] = [*sizes.get(group.key, ()), own]
    smallest = min(min(sizes[codec]) for codec in rescore.first)
    if all(sizes[codec][0] <= smallest for codec in rescore.second):
        raise InvalidInput(
            f"search_extended.rescore.second: none is larger than the {smallest} bytes of the smallest first stage: "
            "add a larger one"
        )


def _check_geometry(params: Params, keys: Mapping[str, str], size: Size) -> None:
    params.section("geometry", keys).check_rows(size.documents, size.queries)


_CHECKS: Mapping[str, Callable[[Params, Mapping[str, str], Size], None]] = {
    "embed": _check_embed,
    "quantize": _check_quantize,
    "extend": _check_extend,
    "search": _check_search,
    "search_extended": _check_search_extended,
    "geometry": _check_geometry,
}
