"""gRPC's health checking: ``Check`` asks once, ``Watch`` is told of every change.

Source: grpc/doc/health-checking.md. The empty name is the server, and so are the names of the
services; any other name is that of a model.
"""

from __future__ import annotations

from typing import Any

from headrace.errors import MalformedRequest, QueueFull, ServiceNotFound
from headrace.receiver.catalog import Catalog
from headrace.receiver.codecs.protobuf import message, parse
from headrace.receiver.exchange import Exchange
from headrace.receiver.stream import Stream, StreamHandler

SERVICE = "grpc.health.v1.Health"
SERVICES = frozenset(
    {
        "",
        SERVICE,
        "inference.GRPCInferenceService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        # What TensorFlow Serving itself calls them.
        "PredictionService",
        "ModelService",
    }
)
"""Names that mean the whole server."""

MOST_WATCHES = 1024
"""Who watches takes no place of ``max_inflight``: so many may at once: some 30 MB."""

_RETRY_AFTER_S = 10.0

_Asked = message("grpc.health.v1.HealthCheckRequest")
_Answer = message("grpc.health.v1.HealthCheckResponse")


class Health:
    """The ``grpc.health.v1.Health`` front."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._watching = 0

    def methods(self) -> dict[str, Any]:
        """Method path → handler of one message."""
        return {f"/{SERVICE}/Check": self.check}

    def streams(self) -> dict[str, StreamHandler]:
        """Method path → handler of a stream."""
        return {f"/{SERVICE}/Watch": self.watch}

    async def check(self, exchange: Exchange) -> bytes:
        """Check.

        Raises:
            ServiceNotFound: neither a service nor a model has that name.
        """
        service = parse(_Asked, exchange.body).service
        status = self._status(service)
        if status == _Answer.SERVICE_UNKNOWN:
            raise ServiceNotFound(
                f"unknown service {service!r}: ask for '' (the server), a gRPC service or a model; "
                f"models: {', '.join(self._catalog.names()) or 'none'}"
            )
        return bytes(_Answer(status=status).SerializeToString())

    async def watch(self, stream: Stream) -> None:
        """Watch: the status now, and again whenever it is another.

        Raises:
            MalformedRequest: no message came.
            QueueFull: as many watch as may.
        """
        if self._watching >= MOST_WATCHES:
            raise QueueFull(
                f"{MOST_WATCHES} clients watch already: ask with Check now and then",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._watching += 1
        try:
            await self._tell(stream)
        finally:
            self._watching -= 1

    async def _tell(self, stream: Stream) -> None:
        asked = None
        async for body in stream.messages():
            asked = parse(_Asked, body)
            break
        if asked is None:
            raise MalformedRequest("Watch wants one HealthCheckRequest, none came")
        told = None
        while True:
            bell = self._catalog.bell.listen()  # before we look: it may ring while we send
            try:
                status = self._status(asked.service)
                if status != told:
                    await stream.send(bytes(_Answer(status=status).SerializeToString()))
                    told = status
                await stream.changed(bell)
            finally:
                bell.cancel()

    def _status(self, service: str) -> Any:
        if service in SERVICES:
            ready = self._catalog.ready()
        elif service in self._catalog.names():
            ready = self._catalog.ready(service)
        else:
            return _Answer.SERVICE_UNKNOWN
        return _Answer.SERVING if ready else _Answer.NOT_SERVING
