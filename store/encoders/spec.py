"""What a model entry of ``params.yaml`` may say.

Every key is required: choices are made in ``params.yaml``, and nothing here is a default.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Dimension = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SentenceTransformer(_Entry):
    """A sentence-transformers model: from an installed package, a folder, or the Hugging Face hub.

    ``package`` is the import name of an installed package that carries the model in its folder ``model/``;
    null takes it from the hub by ``name`` and ``revision``, or from a folder where ``name`` starts with ``/``
    or ``.`` (``revision`` is then only recorded). A revision should be a full commit: branches move. Texts are
    cut after ``max_tokens`` tokens, prefix and special tokens included. ``normalize`` divides every vector by
    its Euclidean norm, independently of the model's own modules.
    """

    source: Literal["sentence-transformers"]
    name: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(min_length=1)]
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None
    dimension: Dimension
    max_tokens: Annotated[int, Field(ge=3)]
    query_prefix: str
    document_prefix: str
    normalize: bool

    @property
    def is_folder(self) -> bool:
        """Whether ``name`` is a folder of this machine instead of a name on the hub."""
        return self.name.startswith(("/", "."))

    @property
    def public_name(self) -> str:
        """The name without its folder: artifacts record what a model is, never where it was found."""
        return Path(self.name).name if self.is_folder else self.name


class Distilled(_Entry):
    """Static token vectors distilled from a teacher; a text is the mean over its tokens, without a cut.

    Each token of the teacher's vocabulary goes through the teacher alone; no text of the study is involved.
    ``token_remove_pattern`` (a regular expression, or null) names tokens to leave out. ``pca`` centres the
    table and rotates it to its first ``dimension`` principal components; without it ``dimension`` is the
    teacher's. ``sif_coefficient`` a weighs a token by a ÷ (a + p), p estimated from its place in the
    vocabulary by Zipf's law (smooth inverse frequency; Arora, Liang & Ma 2017); null leaves tokens unweighted. The
    teacher's prefixes,
    ``max_tokens`` and ``normalize`` play no part.
    """

    source: Literal["distillation"]
    teacher: SentenceTransformer
    dimension: Dimension
    pca: bool
    sif_coefficient: Annotated[float, Field(gt=0, lt=1)] | None
    token_remove_pattern: str | None
    normalize: bool

    @field_validator("token_remove_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _dimension_fits(self) -> Self:
        most = self.teacher.dimension
        if self.dimension > most:
            raise ValueError(f"dimension is {self.dimension}, but the teacher has only {most}")
        if not self.pca and self.dimension != most:
            raise ValueError(f"dimension is {self.dimension}; without pca it must be the teacher's {most}")
        return self


class Lsa(_Entry):
    """Latent semantic analysis (Deerwester et al. 1990): TF-IDF and truncated SVD, fitted on the cell's documents.

    Terms are lower-cased words of two or more letters, digits or underscores and their sequences up to
    ``ngram_max`` words. Kept are those in at least ``min_df`` documents and at most the share ``max_df`` of
    them, the ``max_features`` most frequent where that is not null. ``iterations`` are the power iterations of
    the randomised SVD, drawn from ``seed``.
    """

    source: Literal["lsa"]
    dimension: Dimension
    min_df: Annotated[int, Field(ge=1)]
    max_df: Annotated[float, Field(gt=0, le=1)]
    sublinear_tf: bool
    ngram_max: Annotated[int, Field(ge=1)]
    max_features: Annotated[int, Field(ge=1)] | None
    seed: Seed
    iterations: Annotated[int, Field(ge=0)]
    normalize: bool


EncoderSpec = Annotated[SentenceTransformer | Distilled | Lsa, Field(discriminator="source")]
