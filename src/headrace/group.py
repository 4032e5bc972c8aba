"""What every group of settings is: frozen, and closed to keys it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    # No infinities: JSON, in which settings travel between our processes, has none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )
