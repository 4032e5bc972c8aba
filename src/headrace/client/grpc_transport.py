"""gRPC channels, for threads and for an event loop; grpcio keeps their connections."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from headrace.client.address import Address
from headrace.client.deadline import left
from headrace.client.question import Answer, Question, Value
from headrace.client.trust import certificates
from headrace.errors import ConnectionFailed, ConnectionLost, InvalidArgument
from headrace.statuses import GrpcStatus

_LARGEST_BYTES = 2**31 - 1
_HOST = "host"  # gRPC calls it the authority, and has it elsewhere than other headers
_OPTIONS = (
    ("grpc.max_receive_message_length", _LARGEST_BYTES),
    ("grpc.max_send_message_length", _LARGEST_BYTES),
    # Clients do not share connections: closing one closes its own.
    ("grpc.use_local_subchannel_pool", 1),
    # After a refused connection grpcio would not look again for a second, and then for longer, and
    # meanwhile calls fail though the server is back. It looks without any call, so not too often.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # By its name the least pause; it is how long an attempt to connect may take, TLS and all.
    ("grpc.min_reconnect_backoff_ms", 3000),
    ("grpc.enable_http_proxy", 0),
)

# Grpcio says only in words that there is no connection, and whether anybody can have seen the
# request; these are its own from 1.66 to 1.85. Servers may well say UNAVAILABLE themselves.
_NOT_REACHED = ("failed to connect", "DNS resolution failed", "errors resolving")
_LOST = (
    "Stream removed",
    "Socket closed",
    "recvmsg:",
    "sendmsg:",
    "Connection reset",
    "Broken pipe",
    "GOAWAY received",
    "Received RST_STREAM",
    "Endpoint closing",
    "keepalive",
    "ping timeout",
)
_LATE = "Deadline Exceeded"


def _credentials(address: Address) -> Any:
    return grpc.ssl_channel_credentials(certificates(address)) if address.secure else None


def _metadata(address: Address) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in address.headers.items() if name != _HOST)


def _options(address: Address) -> tuple[tuple[str, Any], ...]:
    host = address.headers.get(_HOST)
    if host is None:
        return _OPTIONS
    # The certificate must still be that of the URL's host, as over HTTP.
    checked = (("grpc.ssl_target_name_override", address.host),) if address.secure else ()
    return (*_OPTIONS, ("grpc.default_authority", host), *checked)


def _open(module: Any, address: Address, credentials: Any) -> Any:
    # Without the scheme gRPC would take hosts that are called as one, such as `unix`, for it.
    target = f"dns:///{address.authority}"
    if credentials is None:
        return module.insecure_channel(target, options=_options(address))
    return module.secure_channel(target, credentials, options=_options(address))


def _failure(error: Any, address: Address) -> Answer:
    """The answer that a failed call is, when it is one.

    Raises:
        HeadraceError: there is no answer, because there is no connection.
    """
    status = GrpcStatus(error.code().value[0])
    pairs = (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))
    headers = {name: value for name, value in pairs if isinstance(value, str)}
    message = error.details() or ""
    if status is GrpcStatus.UNAVAILABLE and not headers:
        _check_connection(message, address)
    if status is GrpcStatus.DEADLINE_EXCEEDED and message == _LATE:
        message = f"no answer from {address.authority} in time: raise timeout_s"
    return Answer(int(status), headers, b"", message)


def _check_connection(message: str, address: Address) -> None:
    where = f"{address.scheme}://{address.authority}"
    if message.startswith(_NOT_REACHED):
        raise ConnectionFailed(f"no connection to {where}: {message}")
    if message.startswith(_LOST):
        raise ConnectionLost(f"{where} gave no answer: {message}")


def _closed() -> InvalidArgument:
    return InvalidArgument("this client is closed: make another one")


def _is_cancelled() -> bool:
    """Whether somebody cancels this task; grpcio raises the same when it only ends a call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class GrpcTransport:
    """A transport for threads; see ``question.Transport``."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._metadata = _metadata(address)
        self._channel = _open(grpc, address, _credentials(address))
        self._methods: dict[str, Any] = {}
        self._opened = True

    def send(self, question: Question[Value], ends_s: float) -> Answer:
        """See ``question.Transport``."""
        if not self._opened:
            raise _closed()
        method = self._methods.get(question.path)
        if method is None:
            method = self._methods[question.path] = self._channel.unary_unary(question.path)
        try:
            body = method(question.body, timeout=left(ends_s), metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error, self._address)
        except ValueError as error:  # how grpcio says that another thread has just closed it
            raise _closed() from error
        return Answer(0, {}, body)

    def close(self) -> None:
        """See ``question.Transport``."""
        self._opened = False
        self._channel.close()


class AsyncGrpcTransport:
    """A transport for an event loop; see ``question.AsyncTransport``."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._metadata = _metadata(address)
        self._credentials = _credentials(address)
        self._channel: Any = None  # made in the event loop, to which it belongs
        self._methods: dict[str, Any] = {}
        self._opened = True

    async def send(self, question: Question[Value], ends_s: float) -> Answer:
        """See ``question.AsyncTransport``."""
        if not self._opened:
            raise _closed()
        method = self._methods.get(question.path)
        if method is None:
            if self._channel is None:
                self._channel = _open(grpc.aio, self._address, self._credentials)
            method = self._methods[question.path] = self._channel.unary_unary(question.path)
        try:
            body = await method(question.body, timeout=left(ends_s), metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error, self._address)
        except grpc.aio.UsageError as error:
            raise _closed() from error
        except asyncio.CancelledError:
            if self._opened or _is_cancelled():
                raise
            return Answer(int(GrpcStatus.CANCELLED), {}, b"", "this client was closed meanwhile")
        return Answer(0, {}, body)

    async def close(self) -> None:
        """See ``question.AsyncTransport``."""
        self._opened = False
        if self._channel is not None:
            await self._channel.close()
