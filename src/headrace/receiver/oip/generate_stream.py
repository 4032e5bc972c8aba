"""Triton's ``generate_stream``: as ``generate``, answered as server-sent events.

Source: Triton's docs/protocol/extension_generate.md. A model here answers once, so there is one
event; what is wrong is known before it and told by the status.
"""

from __future__ import annotations

from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.oip import generate

_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)


class GenerateStream:
    """The front behind ``generate_stream``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def generate(self, exchange: Exchange, name: str, version: int | None) -> Reply:
        """One inference, one event."""
        answer = await generate.infer(self._core, exchange, name, version)
        return Reply(200, b"data: %b\n\n" % answer, _EVENTS)
