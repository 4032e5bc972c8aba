"""What every message between our processes is: frozen, one JSON object a line."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

LINE_LIMIT_BYTES = 64 * 2**20
"""Of what supervisor and receivers tell each other: a profile, a long list of models, metrics."""


class Message(BaseModel):
    """A frozen message; ``kind`` names it on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def line(message: Message) -> bytes:
    """Encode a message as one line."""
    return message.model_dump_json().encode() + b"\n"
