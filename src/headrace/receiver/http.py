"""Plain HTTP: bodies with limits, content encodings, the timeout header, error answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import orjson

from headrace.errors import (
    BodyTooLarge,
    HeadraceError,
    InvalidTimeout,
    MethodNotAllowed,
)
from headrace.receiver.bodies import Bodies, missing
from headrace.receiver.codecs import compression
from headrace.receiver.codecs.limits import too_large
from headrace.receiver.exchange import Event, Exchange, Headers, Reply
from headrace.receiver.grpc import MESSAGE_LIMIT
from headrace.receiver.handover.client import LARGE_BYTES
from headrace.receiver.handover.parcel import Parcel, told

# Shorter chunks are written before a thread would have begun: 256 KiB take 0.1 ms.
_WRITTEN_BESIDE_BYTES = 2**18

LENGTH_HEADER = b"inference-header-content-length"
"""How long the JSON before binary tensors is (Triton)."""

TIMEOUT_HEADER = b"headrace-timeout-ms"
"""How long the client waits, in milliseconds: what is not answered by then is refused."""


def read_timeout(headers: Headers) -> float | None:
    """Read the timeout header as seconds; None when there is none.

    Raises:
        InvalidTimeout: it is not a positive number.
    """
    value = headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    try:
        timeout_s = float(value) / 1e3
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s < math.inf:
        raise InvalidTimeout(
            f"{TIMEOUT_HEADER.decode()} must be a positive number of milliseconds, not "
            f"{value.decode('latin-1')!r}"
        )
    return timeout_s


async def read_body(
    exchange: Exchange,
    bodies: Bodies,
    limit_bytes: int,
    glance: Callable[[bytes], None] | None = None,
) -> bytes | memoryview:
    """Read the whole body; a large one that may be JSON is a view of a ``Parcel``.

    Of one that comes in several chunks ``glance`` is shown the first, and may raise why the others
    need not be read.

    Raises:
        BodyTooLarge: it is, or says it is, larger than the limit.
        Cancelled: the client left in its middle.
        Expired: its client's time was over before it was whole.
        BodyTooSlow: it hardly comes.
        UnavailableError: no descriptor or memory is left for it.
    """
    headers = exchange.headers
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    message = await bodies.chunk(exchange, 0)
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        return body
    if glance is not None:
        glance(body)
    if announced.isdigit() and int(announced) > LARGE_BYTES and _may_be_json(headers):
        with told():
            return await _read_parcel(exchange, bodies, message, limit_bytes)
    chunks, size = [body], len(body)
    while message.get("more_body"):
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        message = await bodies.chunk(exchange, size)
        body = message.get("body", b"")
        chunks.append(body)
        size += len(body)
    if message["type"] != "http.request":
        raise missing(message)
    if size > limit_bytes:
        raise _too_large(limit_bytes)
    return b"".join(chunks)


async def _read_parcel(
    exchange: Exchange, bodies: Bodies, message: Event, limit_bytes: int
) -> memoryview:
    """Read a body of many chunks, each of which is written where it stays."""
    loop = asyncio.get_running_loop()
    parcel = Parcel.create(message.get("body", b""))
    while message.get("more_body"):
        if parcel.size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        message = await bodies.chunk(exchange, parcel.size_bytes)
        chunk = message.get("body", b"")
        if len(chunk) > _WRITTEN_BESIDE_BYTES:  # a system call, during which the event loop runs
            await loop.run_in_executor(None, parcel.write, (chunk,))
        else:
            parcel.write((chunk,))
    if message["type"] != "http.request":
        raise missing(message)
    if parcel.size_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    return parcel.view()


def _may_be_json(headers: Headers) -> bool:
    """Whether nothing says that it is something else; curl says it is a form."""
    kind = headers.get(b"content-type", b"json")
    return LENGTH_HEADER not in headers and (b"json" in kind or b"urlencoded" in kind)


async def decode(body: bytes | memoryview, encoding: bytes, limit_bytes: int) -> bytes | memoryview:
    """Undo the content encoding.

    Raises:
        UnsupportedEncoding: it is not identity, gzip, deflate or zstd.
        MalformedRequest: the data is broken.
        BodyTooLarge: it is larger than the limit once inflated.
    """
    for coding in compression.content_codings(encoding):
        body = await compression.decompress(body, coding, limit_bytes)
    return body


async def encode(reply: Reply, headers: Headers) -> Reply:
    """Compress an answer for a client that asks for it.

    Binary tensors hardly become smaller, and most clients name every coding they know without a
    wish for one: such answers are compressed only for those that name one alone.
    """
    accepted = headers.get(b"accept-encoding", b"")
    coding = compression.choose(accepted)
    if coding is not None and any(name == LENGTH_HEADER for name, _ in reply.headers):
        coding = coding if compression.names_one(accepted) else None
    vary = (b"vary", b"accept-encoding")  # also of the plain one: caches keep both
    if coding is None:
        return reply._replace(headers=(*reply.headers, vary))
    body = await compression.compress(reply.body, coding)
    return Reply(reply.status, body, (*reply.headers, (b"content-encoding", coding.encode()), vary))


def refusal(error: HeadraceError, *, pretty: bool) -> Reply:
    """Answer with an error: ``{"error": message}``, indented for TensorFlow Serving's clients."""
    message = error.message[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
    body = orjson.dumps({"error": message})
    if pretty:
        body = b'{\n    "error": ' + body[len(b'{"error":') : -1] + b"\n}"
    headers = [(b"content-type", b"application/json"), (b"headrace-error", error.code.encode())]
    if isinstance(error, MethodNotAllowed) and error.allowed:
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    return Reply(error.http_status, body, tuple(headers))


def json_reply(value: object, status: int = 200) -> Reply:
    """Answer with JSON."""
    return Reply(status, orjson.dumps(value))


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return too_large(f"the body is larger than {limit_bytes} bytes", limit_bytes)
