"""What crosses the borders of the supervisor: one JSON object a line, one frozen type a message.

Borders: supervisor → engine (its specification, on standard input), engine → supervisor (its
progress, on a pipe), supervisor ↔ receiver (a Unix stream socket). Batches travel elsewhere, see
``engine.messages``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from headrace.observe.logs import Format, Level
from headrace.settings import ModelSettings, ServerSettings
from headrace.values import DType, Signature, TensorSpec

CONTROL_VARIABLE = "HEADRACE_CONTROL"
"""The receiver process finds the supervisor's socket under this environment variable."""


class Message(BaseModel):
    """A frozen message; ``kind`` names it on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineSpec(Message):
    """Supervisor → engine: what to load and where to listen.

    ``settings`` is resolved: instances is never None. How to log is as in ``ServerSettings``.
    """

    kind: Literal["engine_spec"] = "engine_spec"
    name: str
    version: int
    path: str
    socket_path: str
    settings: ModelSettings
    log_level: Level = "info"
    log_format: Format = "auto"


class Measurement(Message):
    """One point of the warm-up: how long ``rows`` rows of ``elements`` input elements took."""

    elements: int
    rows: int
    median_s: float
    p95_s: float


class TensorSpecMessage(Message):
    """A :class:`headrace.values.TensorSpec` on the wire."""

    name: str
    dtype: DType
    shape: tuple[int | str | None, ...]


class SignatureMessage(Message):
    """A :class:`headrace.values.Signature` on the wire."""

    inputs: tuple[TensorSpecMessage, ...]
    outputs: tuple[TensorSpecMessage, ...]
    batched: bool

    @classmethod
    def of(cls, signature: Signature) -> SignatureMessage:
        """Wrap a signature."""

        def wrap(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpecMessage, ...]:
            return tuple(
                TensorSpecMessage(name=s.name, dtype=s.dtype, shape=s.shape) for s in specs
            )

        return cls(
            inputs=wrap(signature.inputs),
            outputs=wrap(signature.outputs),
            batched=signature.batched,
        )

    def unwrap(self) -> Signature:
        """Return the signature."""

        def unwrap(specs: tuple[TensorSpecMessage, ...]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(s.name, s.dtype, s.shape) for s in specs)

        return Signature(unwrap(self.inputs), unwrap(self.outputs), self.batched)


class Profile(Message):
    """What loading and warming up found out.

    ``batch_sizes`` are the sizes a run may have, ascending, every one warm on every instance; with
    ``pads`` the backend runs only those, so a batch is padded up to the next of them.
    ``reason`` says why it is that backend.
    """

    signature: SignatureMessage
    backend: str
    reason: str = ""
    precision: str
    integer_bits: int = 64
    instances: int
    threads: int
    batch_sizes: tuple[int, ...]
    pads: bool
    measurements: tuple[Measurement, ...]
    load_s: float
    warm_s: float
    memory_bytes: int


class EngineLoading(Message):
    """Engine → supervisor: progress for a person (``"warming 8 of 12"``)."""

    kind: Literal["engine_loading"] = "engine_loading"
    step: str


class EngineReady(Message):
    """Engine → supervisor: every instance is warm and the socket listens."""

    kind: Literal["engine_ready"] = "engine_ready"
    profile: Profile


class EngineFailed(Message):
    """Engine → supervisor: the model cannot be loaded; the process ends after this line."""

    kind: Literal["engine_failed"] = "engine_failed"
    code: str
    message: str


EngineReport = Annotated[EngineLoading | EngineReady | EngineFailed, Field(discriminator="kind")]


class ModelServing(Message):
    """Supervisor → receiver: this version's engine listens at ``socket_path``; connect and serve.

    Sent again, with another path, when a dead engine has been replaced.
    """

    kind: Literal["model_serving"] = "model_serving"
    name: str
    version: int
    socket_path: str
    settings: ModelSettings
    labels: tuple[str, ...] = ()
    profile: Profile


class ModelState(Message):
    """Supervisor → receiver: where a version is in its life (``lifecycle.State`` names)."""

    kind: Literal["model_state"] = "model_state"
    name: str
    version: int
    state: str
    reason: str = ""


class Configure(Message):
    """Supervisor → receiver, first of all: the server's settings and every version known.

    ``version_labels`` are those of each model: what a label stands for.
    """

    kind: Literal["configure"] = "configure"
    server: ServerSettings
    models: tuple[ModelState, ...]
    version_labels: dict[str, dict[str, int]] = {}


class Drain(Message):
    """Supervisor → receiver: answer not-ready from now on; go on serving what comes."""

    kind: Literal["drain"] = "drain"


ToReceiver = Annotated[Configure | ModelServing | ModelState | Drain, Field(discriminator="kind")]


class ReceiverReady(Message):
    """Receiver → supervisor: connected to the engine of this version and serving it."""

    kind: Literal["receiver_ready"] = "receiver_ready"
    name: str
    version: int
    socket_path: str


FromReceiver = ReceiverReady

engine_report: TypeAdapter[EngineLoading | EngineReady | EngineFailed] = TypeAdapter(EngineReport)
to_receiver: TypeAdapter[Configure | ModelServing | ModelState | Drain] = TypeAdapter(ToReceiver)


def line(message: Message) -> bytes:
    """Encode a message as one line."""
    return message.model_dump_json().encode() + b"\n"
