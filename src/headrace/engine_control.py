"""What crosses the border of an engine's process: what it is to load, and how that goes.

Supervisor → engine: its specification, one JSON object on standard input. Engine → supervisor: its
progress, one a line, on a pipe. Batches travel elsewhere, see ``engine.messages``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from headrace.device import CPU
from headrace.message import Message
from headrace.observe.logs import Format, Level
from headrace.settings import ModelSettings
from headrace.signature import DType, Signature, TensorSpec

ItemShapes = dict[str, tuple[int, ...]]
"""Shapes of one row by input."""


class EngineSpec(Message):
    """Supervisor → engine: what to load and where to listen.

    ``settings`` is resolved: instances is never None. How to log is as in ``ServerSettings``.
    ``beside``: other models serve meanwhile, and must not notice. ``samples_path`` is a file of
    ``engine.samples`` that it must agree with. ``seen_shapes`` are those that clients sent, and
    ``receivers`` how many will hand over batches. ``cores`` are those of each instance; none: any.
    ``tokenizers`` are where those that ``accepts`` names are to be read instead.
    """

    kind: Literal["engine_spec"] = "engine_spec"
    name: str
    version: int
    path: str
    socket_path: str
    settings: ModelSettings
    labels: tuple[str, ...] = ()
    tokenizers: dict[str, str] = Field(default_factory=dict)
    cache_dir: str | None = None
    beside: bool = False
    samples_path: str | None = None
    seen_shapes: tuple[ItemShapes, ...] = ()
    receivers: int = 1
    cores: tuple[tuple[int, ...], ...] = ()
    log_level: Level = "info"
    log_format: Format = "auto"


class Measurement(Message):
    """One point of the warm-up: how long ``rows`` rows of ``elements`` input elements took."""

    elements: int
    rows: int
    median_s: float
    p95_s: float


class TensorSpecMessage(Message):
    """A :class:`headrace.signature.TensorSpec` on the wire."""

    name: str
    dtype: DType
    shape: tuple[int | str | None, ...]


class SignatureMessage(Message):
    """A :class:`headrace.signature.Signature` on the wire."""

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
    ``pads`` a batch is padded up to the next of them, for a first run at another size takes long;
    one whose padded rows are more than a slot holds runs as it is.
    ``reason`` says why it is that backend, ``cached`` whether an earlier start had found it out.
    ``start_s`` is how long the process took until it began to load. ``labels`` are the names of
    classes of the card, or else of the file, and ``signature_name`` is so too. ``device`` is whose
    turns it takes; of ``stages`` lanes an instance one may copy while another computes.
    ``text_only`` says that strings must be UTF-8. ``alone`` says why requests do not share runs,
    where warm-up has found that. ``cores`` are those of each instance.
    """

    signature: SignatureMessage
    backend: str
    reason: str = ""
    device: str = CPU
    precision: str
    integer_bits: int = 64
    text_only: bool = False
    instances: int
    stages: int = 1
    threads: int
    cores: tuple[tuple[int, ...], ...] = ()
    batch_sizes: tuple[int, ...]
    alone: str = ""
    pads: bool
    measurements: tuple[Measurement, ...]
    start_s: float = 0.0
    load_s: float
    warm_s: float
    memory_bytes: int
    cached: bool = False
    labels: tuple[str, ...] = ()
    signature_name: str | None = None


def is_alike(before: Profile, now: Profile) -> bool:
    """Whether what was composed for an engine serves with its successor, too.

    That has loaded what the files are now. Times and the sizes that pay are measured anew by each
    and never quite the same: they do not count.
    """
    return _relied_on(before) == _relied_on(now)


def _relied_on(profile: Profile) -> tuple[object, ...]:
    return (
        profile.signature,
        profile.labels,
        profile.signature_name,
        profile.integer_bits,
        profile.text_only,
        profile.pads,
    )


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

engine_report: TypeAdapter[EngineLoading | EngineReady | EngineFailed] = TypeAdapter(EngineReport)
