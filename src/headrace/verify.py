"""What is asked of a version that is to take over from one that serves; frozen settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from headrace.group import Group

_MODES = ("off", "shadow")


class Verify(Group):
    """Whether a new version must answer as the one that serves, and how nearly.

    As text, for flags and variables: ``shadow`` or ``off``.
    """

    mode: Literal["off", "shadow"] = Field(
        default="off",
        description="shadow: before it takes over, a version runs up to 32 recent requests of the "
        "one that serves, whose answers it must agree with. Until then those requests are kept in "
        "memory. off: none are.",
    )
    difference: Annotated[float, Field(ge=0)] = Field(
        default=0.05,
        description="How far an output of floats may be off in any request, as a part of its size "
        "(root mean square) there, or of its usual size where that is larger.",
    )
    equal: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.99,
        description="Which part of the elements of an output of integers, booleans or text must "
        "be the same: over all requests.",
    )

    may_be_text: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, said: Any) -> Any:
        if said is False:  # what older YAML makes of a bare `off`
            return {}
        if not isinstance(said, str):
            return said
        if said.strip() not in _MODES:
            raise ValueError("should be shadow, off, or keys: {mode: shadow, difference: 0.02}")
        return {"mode": said.strip()}

    @property
    def shadow(self) -> bool:
        """Whether it is asked at all."""
        return self.mode == "shadow"

    def __str__(self) -> str:
        return self.mode
