"""Sections of ``params.yaml`` that name codecs and their settings."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field as Constraint
from pydantic import ValidationError, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipeline.stage import Section
from store.codecs.settings import Codecs, Group, groups
from store.errors import InvalidInput

Positive = Annotated[int, Constraint(ge=1)]
Seed = Annotated[int, Constraint(ge=0, lt=2**31)]


def distinct(codecs: tuple[str, ...]) -> tuple[str, ...]:
    """The codecs; ValueError where one is named twice."""
    if len(set(codecs)) != len(codecs):
        raise ValueError("codecs must be distinct")
    return codecs


class Encoding(Section):
    """``codecs`` are the settings of each codec by its key, among ``CODECS``; see `store.codecs.settings.groups`."""

    CODECS: ClassVar[Codecs]

    codecs: dict[str, tuple[Group, ...]]

    @field_validator("codecs", mode="plain")
    @classmethod
    def _built(cls, stated: Any) -> dict[str, tuple[Group, ...]]:
        if not isinstance(stated, dict) or not stated:
            raise ValueError("give settings by codec, of at least one codec")
        found = {}
        for key, settings in stated.items():
            try:
                found[key] = groups(cls.CODECS, key, settings)
            except InvalidInput as error:
                problem = PydanticCustomError("codec", "{problem}", {"problem": str(error)})
                details = InitErrorDetails(type=problem, loc=(key,), input=stated)
                raise ValidationError.from_exception_data("codecs", [details]) from None
        return found

    def groups(self) -> Iterator[Group]:
        """Every codec in every length."""
        for of_codec in self.codecs.values():
            yield from of_codec


class Fitting(Encoding):
    """At most ``fit_sample`` documents, drawn by ``fit_seed``, are fitted on."""

    fit_sample: Positive
    fit_seed: Seed
