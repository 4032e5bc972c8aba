"""What crosses the border of a lab: one JSON object a line, one frozen type a message."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from headrace.engine_control import SignatureMessage
from headrace.message import Message
from headrace.settings import ModelSettings

Shapes = dict[str, tuple[int, ...]]
"""The shape of one row of each input."""


class Load(Message):
    """Tuner → lab, first of all: load the model with these settings, as many lanes as instances.

    What is compiled is kept in ``cache_dir``, for other labs and for servers.
    """

    kind: Literal["load"] = "load"
    path: str
    settings: ModelSettings
    cache_dir: str | None = None


class Time(Message):
    """Tuner → lab: run so many rows a few times, each on a lane that is alone."""

    kind: Literal["time"] = "time"
    rows: int


class Together(Message):
    """Tuner → lab: run so many rows on so many lanes at once, for a while."""

    kind: Literal["together"] = "together"
    rows: int
    lanes: int


class Answer(Message):
    """Tuner → lab: answer the samples of a file, and write what came to another."""

    kind: Literal["answer"] = "answer"
    samples_path: str
    answers_path: str


class Loaded(Message):
    """Lab → tuner: what was loaded.

    ``shape`` is what is run at, None when none was found. ``most_rows`` have room in a slot.
    ``integer_bits`` are those that integers are computed in.
    """

    kind: Literal["loaded"] = "loaded"
    signature: SignatureMessage
    precision: str
    pads: bool
    shape: Shapes | None
    elements: int
    most_rows: int
    memory_bytes: int
    integer_bits: int = 64


class Took(Message):
    """Lab → tuner: how long each run took."""

    kind: Literal["took"] = "took"
    times_s: tuple[float, ...]


class Ran(Message):
    """Lab → tuner: what a run took on average, of each lane: time, and time on a core."""

    kind: Literal["ran"] = "ran"
    wall_s: float
    cpu_s: float


class Answered(Message):
    """Lab → tuner: the answers are in the file."""

    kind: Literal["answered"] = "answered"


class Failed(Message):
    """Lab → tuner: why it could not be done."""

    kind: Literal["failed"] = "failed"
    code: str
    message: str


Order = Annotated[Load | Time | Together | Answer, Field(discriminator="kind")]
Report = Annotated[Loaded | Took | Ran | Answered | Failed, Field(discriminator="kind")]

order: TypeAdapter[Load | Time | Together | Answer] = TypeAdapter(Order)
report: TypeAdapter[Loaded | Took | Ran | Answered | Failed] = TypeAdapter(Report)
