"""What supervisor and receivers tell each other: one JSON object a line, one frozen type a message.

They go over a Unix stream socket. What a receiver orders is in ``order``, what an engine is told
and tells in ``engine_control``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from headrace.engine_control import ItemShapes, Profile
from headrace.message import Message
from headrace.observe.together import Topic
from headrace.order import Demand, Label, Load, Reload, Unload
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings

CONTROL_VARIABLE = "HEADRACE_CONTROL"
"""The receiver process finds the supervisor's socket under this environment variable."""


SCRIBE_NAME = "scribe.sock"
"""The scribe's socket, in the folder of the supervisor's."""


class TunedUse(Message):
    """What was taken of a tuned card: the settings by key, and what they were tuned for.

    ``note`` is what whoever starts the server should know besides.
    """

    file: str
    keys: tuple[str, ...]
    slo_ms: float
    quantile: float
    rate_rps: float
    note: str = ""


class ModelServing(Message):
    """Supervisor → receiver: this version's engine listens at ``socket_path``; connect and serve.

    Sent again, with another path, when a dead engine has been replaced. With ``replaces`` it is
    another model under the same name and version: what the one before it still runs or has waiting
    ends there, and ``Emptied`` tells when. ``origins`` says which layer said what of the settings,
    ``tuned`` what was taken of a tuned card. ``tokenizers`` are where those that ``accepts`` names
    are to be read instead. ``edition`` is that of its files (``tuned.edition``); "" when they could
    not be looked at.
    """

    kind: Literal["model_serving"] = "model_serving"
    name: str
    version: int
    socket_path: str
    settings: ModelSettings
    profile: Profile
    tokenizers: dict[str, str] = Field(default_factory=dict)
    replaces: bool = False
    origins: dict[str, str] = Field(default_factory=dict)
    tuned: TunedUse | None = None
    edition: str = ""


ENDED = frozenset({"failed", "evicting", "draining", "unloaded"})
"""States of a version that takes no more requests: what receivers have counted of it is gone."""


class ModelState(Message):
    """Supervisor → receiver: where a version is in its life (``lifecycle.State`` names).

    ``since_unix_s`` is when it got there, in seconds since 1970; 0 when nobody has noted it yet.
    ``on_demand``: it has been listed, so that a request for it has it loaded, and waits.
    """

    kind: Literal["model_state"] = "model_state"
    name: str
    version: int
    state: str
    reason: str = ""
    since_unix_s: float = 0.0
    on_demand: bool = False


class Configure(Message):
    """Supervisor → receiver, first of all: the server's settings and every version known.

    ``moves`` are models, states, and how often a version came to one. ``was_ready``: an earlier
    receiver was, and this one takes its place. ``awaited``: some places have not been looked at
    yet, and ``Complete`` will tell. So many ``serving`` are told next; it listens when it serves
    those.
    """

    kind: Literal["configure"] = "configure"
    server: ServerSettings
    models: tuple[ModelState, ...]
    moves: tuple[tuple[str, str, int], ...] = ()
    serving: int = 0
    was_ready: bool = False
    awaited: bool = False


class Complete(Message):
    """Supervisor → receiver: every place has been looked at; what is known is what is to serve."""

    kind: Literal["complete"] = "complete"


class Forget(Message):
    """Supervisor → receiver: a version has ended, and its files have gone; it is no more."""

    kind: Literal["forget"] = "forget"
    name: str
    version: int


class Drain(Message):
    """Supervisor → receiver: answer not-ready from now on; go on serving what comes."""

    kind: Literal["drain"] = "drain"


class Labels(Message):
    """Supervisor → receiver: the version labels of a model, in place of those before."""

    kind: Literal["labels"] = "labels"
    name: str
    versions: dict[str, int]


class Memory(Message):
    """Supervisor → receiver: what the engine of a version has in memory now."""

    kind: Literal["memory"] = "memory"
    name: str
    version: int
    memory_bytes: int


class Recall(Message):
    """Supervisor → receiver: write the requests kept of a version to a file, then say so.

    Another version is about to be loaded, and must agree with it. Of ``versions`` it is the first
    of which there are any.
    """

    kind: Literal["recall"] = "recall"
    question: int
    name: str
    versions: tuple[int, ...]
    path: str


class Done(Message):
    """Supervisor → receiver: how an order ended; ``code`` is an error's, None when it is done."""

    kind: Literal["done"] = "done"
    order: int
    code: str | None = None
    message: str = ""


class Ask(Message):
    """Supervisor → receiver: say what you have counted of a topic (``observe.together.Topic``)."""

    kind: Literal["ask"] = "ask"
    question: int
    topic: Topic


class Gathered(Message):
    """Supervisor → receiver: what all receivers together have counted, in answer to ``Gather``."""

    kind: Literal["gathered"] = "gathered"
    question: int
    text: str


ToReceiver = Annotated[
    Configure
    | Complete
    | ModelServing
    | ModelState
    | Forget
    | Drain
    | Labels
    | Memory
    | Recall
    | Ask
    | Gathered
    | Done,
    Field(discriminator="kind"),
]


class ReceiverReady(Message):
    """Receiver → supervisor: connected to the engine of this version and serving it."""

    kind: Literal["receiver_ready"] = "receiver_ready"
    name: str
    version: int
    socket_path: str


class NotServed(Message):
    """Receiver → supervisor: it cannot serve this version with the engine there, and why not."""

    kind: Literal["not_served"] = "not_served"
    name: str
    version: int
    socket_path: str
    reason: str


class Emptied(Message):
    """Receiver → supervisor: nothing waits for this engine or runs in it, and nothing will."""

    kind: Literal["emptied"] = "emptied"
    socket_path: str


class Recalled(Message):
    """Receiver → supervisor: so many requests are in the file that a ``Recall`` named."""

    kind: Literal["recalled"] = "recalled"
    question: int
    samples: int


class Use(Message):
    """When a version was last used, on the monotonic clock of this machine (0: never).

    ``sequences``: there are some, which would be lost if it left memory.
    """

    name: str
    version: int
    used_s: float
    sequences: bool


class Used(Message):
    """Receiver → supervisor: what has been used since it last said so."""

    kind: Literal["used"] = "used"
    models: tuple[Use, ...]


class Seen(Message):
    """Receiver → supervisor: the shapes that are common in the traffic of a model now."""

    kind: Literal["seen"] = "seen"
    name: str
    shapes: tuple[ItemShapes, ...]


class Told(Message):
    """Receiver → supervisor: what it has counted, in answer to ``Ask``."""

    kind: Literal["told"] = "told"
    question: int
    text: str


class Gather(Message):
    """Receiver → supervisor: say what all receivers together have counted of a topic."""

    kind: Literal["gather"] = "gather"
    question: int
    topic: Topic


FromReceiver = Annotated[
    ReceiverReady
    | NotServed
    | Emptied
    | Recalled
    | Used
    | Seen
    | Told
    | Gather
    | Demand
    | Load
    | Unload
    | Label
    | Reload,
    Field(discriminator="kind"),
]

to_receiver: TypeAdapter[
    Configure
    | Complete
    | ModelServing
    | ModelState
    | Forget
    | Drain
    | Labels
    | Memory
    | Recall
    | Ask
    | Gathered
    | Done
] = TypeAdapter(ToReceiver)
from_receiver: TypeAdapter[
    ReceiverReady
    | NotServed
    | Emptied
    | Recalled
    | Used
    | Seen
    | Told
    | Gather
    | Demand
    | Load
    | Unload
    | Label
    | Reload
] = TypeAdapter(FromReceiver)
