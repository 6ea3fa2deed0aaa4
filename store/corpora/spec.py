"""What a dataset entry of ``params.yaml`` may say.

Every key is required: the choice stands in ``params.yaml`` and has no second default here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


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


class Beir(_Entry):
    """A collection in the BEIR folder layout.

    ``path`` is the collection's folder, relative to the data folder or absolute; ``split`` names
    ``qrels/<split>.tsv``; ``exclude_self`` leaves the document that has the query's own id out of its results
    (ArguAna needs it). ``grown_from`` are the sizes, ascending, that the collection had before documents were
    added at its end: rows of each earlier size keep their places. It is empty for a collection that never grew.
    """

    source: Literal["beir"]
    path: Annotated[str, Field(min_length=1)]
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    exclude_self: bool
    grown_from: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]

    @field_validator("grown_from")
    @classmethod
    def _ascends(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(sizes)) != list(sizes):
            raise ValueError("sizes must be ascending and distinct")
        return sizes


DatasetSpec = Annotated[ApiDocs | Beir, Field(discriminator="source")]
