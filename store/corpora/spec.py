"""What a dataset entry of ``params.yaml`` may say.

Every key is required: the choice stands in ``params.yaml`` and has no second default here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ApiDocs(_Entry):
    """Known-item search over the docstrings of installed packages.

    ``packages`` are import names (``sklearn``, not ``scikit-learn``); ``min_words`` is the least number of
    words of a document; ``seed`` chooses the documents and the queries where there are more than
    ``max_documents`` and ``max_queries``. A query made from a docstring is never itself a document, so
    ``exclude_self`` changes nothing here; it is stated because every dataset states it.
    """

    source: Literal["api-docs"]
    packages: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    max_documents: Annotated[int, Field(ge=1)]
    max_queries: Annotated[int, Field(ge=1)]
    min_words: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    exclude_self: bool

    @field_validator("packages")
    @classmethod
    def _are_distinct_names(cls, packages: tuple[str, ...]) -> tuple[str, ...]:
        for package in packages:
            if not package.isidentifier():
                raise ValueError(f"{package!r} is not an import name (write sklearn, not scikit-learn)")
        if len(set(packages)) != len(packages):
            raise ValueError("a package is listed twice; list each once")
        return packages


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Table(_Entry):
    """A table of a repository of the hub: one split of one of its configurations."""

    config: Name
    split: Name


class Repository(_Entry):
    """A collection on the Hugging Face hub, as Parquet or JSON lines with its configurations in its ``README.md``.

    ``revision`` is a full commit, for branches move. ``corpus`` has the columns ``_id`` (or ``id``), ``text`` and
    maybe ``title``, ``queries`` has ``_id`` (or ``id``) and ``text``. ``judgements`` is a configuration with the
    columns ``query-id``, ``corpus-id`` and maybe ``score``; without scores every pair counts 1. Its splits are those
    that the entry names.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    corpus: Table
    queries: Table
    judgements: Name


class Training(_Entry):
    """Queries set apart for adapters: at most ``max_queries`` of those judged in ``split``."""

    split: Name
    max_queries: Annotated[int, Field(ge=1)]


Kind = Literal["conflicting", "dangling", "empty", "repeated"]
"""What changes figures in a collection: two scores for one pair, judgements of a query or document that is not there,
judged texts that are empty, and another text under an id that was given before."""


class Beir(_Entry):
    """A collection in the layout of BEIR: in a folder, on the hub, or in a folder that the hub stands in for.

    ``path`` is the collection's folder, relative to the data folder or absolute; where it is null, or nothing is
    there, ``hub`` says where to take the collection from. ``split`` names the judgements to report. ``training``,
    null for none, sets queries of another split apart that ``split`` does not judge. ``max_documents``, null for all,
    keeps every document judged in ``split`` and fills up with a draw from the others; ``seed`` is that of this draw
    and of the training queries'. ``exclude_self`` leaves the document that has the query's own id out of its
    results (ArguAna needs it). ``grown_from`` are the sizes, ascending, that the collection had before documents were
    added at its end: rows of each earlier size keep their places. It is empty for a collection that never grew.
    ``drop`` lists what is left out instead of refused: judgements of a pair that has two scores, judgements of what is
    not there, empty texts with their judgements, and of texts with one id all but the first.
    """

    source: Literal["beir"]
    path: Annotated[str, Field(min_length=1)] | None
    hub: Repository | None
    split: Name
    training: Training | None
    max_documents: Annotated[int, Field(ge=1)] | None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    exclude_self: bool
    grown_from: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    drop: Annotated[tuple[Kind, ...], Field(strict=False)]

    @field_validator("grown_from")
    @classmethod
    def _ascends(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(sizes)) != list(sizes):
            raise ValueError("sizes must be ascending and distinct")
        return sizes

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.path is None and self.hub is None:
            raise ValueError(
                "path and hub are both null; give the folder or the repository of the collection"
            )
        if self.training is not None and self.training.split == self.split:
            raise ValueError(
                f"training.split is {self.split}, the split to report; name another or set it to null"
            )
        if self.grown_from and self.max_documents is not None:
            raise ValueError("max_documents draws from the whole collection, so grown_from must be empty")
        return self


DatasetSpec = Annotated[ApiDocs | Beir, Field(discriminator="source")]
