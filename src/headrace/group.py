"""What every group of settings is: frozen, and closed to keys it does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Group(BaseModel):
    """A frozen group of settings that refuses unknown keys, and true and false for numbers."""

    # No infinities: JSON, in which settings travel between our processes, has none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    may_be_text: ClassVar[bool] = False
    """Whether one may be written as text, too."""

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        fields = cls.model_fields
        return {
            name: _as_words(value)
            if isinstance(value, bool | list | tuple | dict)
            and name in fields
            and _is_numbers(fields[name].annotation)
            else value
            for name, value in said.items()
        }


def _as_words(said: Any) -> Any:
    """Write true and false as text, which is no number; pydantic would take them for 1 and 0."""
    if isinstance(said, dict):
        return {key: _as_words(value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [_as_words(value) for value in said]
    return str(said).lower() if isinstance(said, bool) else said


def _is_numbers(annotation: Any) -> bool:
    kinds = set(_kinds(annotation))
    return bool(kinds & {int, float}) and bool not in kinds


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for one in arguments:
        yield from _kinds(one)
