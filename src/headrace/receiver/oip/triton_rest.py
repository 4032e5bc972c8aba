"""Triton's unary extensions over REST: the same as over gRPC, and ``generate``.

Source: Triton's docs/protocol, an extension a page.
"""

from __future__ import annotations

from typing import Any

from headrace.errors import Unsupported
from headrace.receiver.codecs import json_tensor
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.http import json_reply
from headrace.receiver.oip import generate, model_config, statistics
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.trace_settings import Values
from headrace.receiver.oip.triton_grpc import NO_CUDA

# Settings that are lists on the wire; others are a text.
_LISTS = ("trace_level",)


class TritonRest:
    """The part of ``/v2`` that only Triton has."""

    def __init__(self, core: Core, extras: Extras) -> None:
        self._core = core
        self._extras = extras

    async def generate(self, exchange: Exchange, name: str, version: int | None) -> Reply:
        """``POST /v2/models/{name}/generate``."""
        return Reply(200, await generate.infer(self._core, exchange, name, version))

    async def config(self, exchange: Exchange, name: str, version: int | None) -> Reply:  # noqa: ARG002
        """``GET /v2/models/{name}/config``."""
        return json_reply(model_config.describe(self._core.catalog.find(name, version)))

    async def stats(self, exchange: Exchange, name: str, version: int | None) -> Reply:  # noqa: ARG002
        """``GET /v2/models/{name}/stats``."""
        found = await statistics.asked(self._core, name, version)
        return json_reply({"model_stats": found})

    async def all_stats(self, exchange: Exchange) -> Reply:
        """``GET /v2/models/stats``."""
        return await self.stats(exchange, "", None)

    async def system_status(
        self,
        exchange: Exchange,  # noqa: ARG002
        name: str = "",
        version: None = None,  # noqa: ARG002
    ) -> Reply:
        """``GET /v2/systemsharedmemory[/region/{name}]/status``."""
        return json_reply(self._extras.regions.status(name))

    async def system_register(self, exchange: Exchange, name: str, version: None) -> Reply:  # noqa: ARG002
        """``POST /v2/systemsharedmemory/region/{name}/register``."""
        asked = json_tensor.parse(exchange.body)
        offset = asked.get("offset", 0)
        self._extras.regions.register(name, asked.get("key"), offset, asked.get("byte_size"))
        return Reply(200, b"")

    async def system_unregister(
        self,
        exchange: Exchange,  # noqa: ARG002
        name: str = "",
        version: None = None,  # noqa: ARG002
    ) -> Reply:
        """``POST /v2/systemsharedmemory[/region/{name}]/unregister``."""
        self._extras.regions.unregister(name)
        return Reply(200, b"")

    async def cuda_status(self, *_: Any) -> Reply:
        """``GET /v2/cudasharedmemory[/region/{name}]/status``: there is none."""
        return json_reply([])

    async def cuda_register(self, *_: Any) -> Reply:
        """``POST /v2/cudasharedmemory/region/{name}/register``."""
        raise Unsupported(NO_CUDA)

    async def cuda_unregister(self, *_: Any) -> Reply:
        """``POST /v2/cudasharedmemory[/region/{name}]/unregister``: nothing is left."""
        return Reply(200, b"")

    async def read_trace(
        self,
        exchange: Exchange,  # noqa: ARG002
        name: str = "",
        version: int | None = None,  # noqa: ARG002
    ) -> Reply:
        """``GET /v2[/models/{name}]/trace/setting``."""
        if name:
            self._core.catalog.states(name)  # an unknown model has none
        return json_reply(_trace(self._extras.tracing.read(name)))

    async def change_trace(
        self,
        exchange: Exchange,
        name: str = "",
        version: int | None = None,  # noqa: ARG002
    ) -> Reply:
        """``POST /v2[/models/{name}]/trace/setting``."""
        if name:
            self._core.catalog.states(name)
        asked = json_tensor.parse(exchange.body)
        return json_reply(_trace(self._extras.tracing.change(asked, name)))

    async def read_logging(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /v2/logging``."""
        return json_reply(self._extras.logging.read())

    async def change_logging(self, exchange: Exchange) -> Reply:
        """``POST /v2/logging``."""
        return json_reply(self._extras.logging.change(json_tensor.parse(exchange.body)))


def _trace(values: Values) -> dict[str, Any]:
    return {key: value if key in _LISTS else value[0] for key, value in values.items()}
