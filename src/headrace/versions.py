"""Which versions of a model to serve; frozen settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from headrace.group import Group


class Versions(Group):
    """Which versions of a model to serve; nothing said: all of them.

    As text, for flags and variables: ``all``, ``latest``, ``latest:2``, ``specific:1,3``.
    """

    latest: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The so many newest."
    )
    specific: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = (
        Field(default=None, description="These and no others.")
    )

    may_be_text: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, said: Any) -> Any:
        if not isinstance(said, str):
            return said
        kind, colon, rest = said.strip().partition(":")
        numbers = [int(part) for part in rest.split(",") if part.strip().isdecimal()]
        if kind == "all" and not colon:
            return {}
        if kind == "latest" and not colon:
            return {"latest": 1}
        if kind == "latest" and len(numbers) == 1 and numbers[0] and "," not in rest:
            return {"latest": numbers[0]}
        if kind == "specific" and numbers and len(numbers) == len(rest.split(",")):
            return {"specific": numbers}
        raise ValueError("should be all, latest, latest:2 (from 1 on) or specific:1,3")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.latest is not None and self.specific is not None:
            raise ValueError("has latest and specific; give one of them")
        return self

    def __str__(self) -> str:
        if self.specific is not None:
            return f"specific:{','.join(map(str, self.specific))}"
        return "all" if self.latest is None else f"latest:{self.latest}"
