"""One call as values: what goes out, what comes back, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.values import Array

Value = TypeVar("Value")


class Answer(NamedTuple):
    """What a server answered: HTTP's status or gRPC's, lower-case headers or trailers, the body.

    ``message`` is gRPC's; HTTP has its own in the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Question(Generic[Value]):
    """What to send, and ``read``, which makes a value of the answer or raises a typed error.

    ``repeatable``: sending it twice does no harm.
    """

    path: str
    body: bytes
    read: Callable[[Answer], Value]
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Inference:
    """One inference, its inputs ready to be sent; ``outputs`` empty means all."""

    model: str
    version: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    classification: int | None
    parameters: Mapping[str, bool | int | str]
    id: str


class Codec(Protocol):
    """The Open Inference Protocol in one of its forms; an empty version is the server's choice."""

    def infer(self, inference: Inference) -> Question[Result]:
        """Ask a model to run."""

    def live(self) -> Question[bool]:
        """Ask whether the server is up."""

    def ready(self, model: str, version: str) -> Question[bool]:
        """Ask whether the server, or a model, can be asked; an empty model is the server."""

    def server(self) -> Question[ServerMetadata]:
        """Ask what the server is."""

    def model(self, model: str, version: str) -> Question[ModelMetadata]:
        """Ask what a model takes and gives."""

    def models(self) -> Question[tuple[ModelState, ...]]:
        """Ask which models there are."""


class Transport(Protocol):
    """Connections for threads."""

    def send(self, question: Question[Value], ends_s: float) -> Answer:
        """Send and wait for the answer, until ``ends_s`` on the monotonic clock."""

    def close(self) -> None:
        """Close every connection; what is under way fails."""


class AsyncTransport(Protocol):
    """Connections for an event loop."""

    async def send(self, question: Question[Value], ends_s: float) -> Answer:
        """Send and wait for the answer, until ``ends_s`` on the monotonic clock."""

    async def close(self) -> None:
        """Close every connection; what is under way fails."""
