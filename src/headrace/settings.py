"""One frozen tree of settings: the only reader of the file, the environment and the flags.

Order: flag > environment (``HEADRACE_SERVER__PORT=9000``) > file (``headrace.yaml``) > default.
Unknown keys are errors. ``docs/settings.md`` is generated from this file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from headrace.accepts import AcceptedInput
from headrace.documents import Document, anchor_paths, merge, read
from headrace.errors import SettingsError
from headrace.problems import explain, located, place

_PREFIX = "HEADRACE_"
_LAST_PORT = 65535
# What a browser sends as `Origin`: no path, not even a slash.
_ORIGIN = re.compile(r"https?://[^/\s,*]+")
# Flags with this prefix are set on each entry of `models`.
_EVERY_MODEL = "models.*."
# These say which model it is, so they cannot be what every model takes.
_NO_DEFAULTS = ("path", "name")


class Group(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    # No infinities: JSON, in which settings travel between our processes, has none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


class BackendName(StrEnum):
    """The libraries that can run a model."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    FAKE = "fake"


class Precision(StrEnum):
    """The arithmetic a backend may use inside; inputs and outputs keep their dtypes."""

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


class ModelControl(StrEnum):
    """Whether clients may load and unload models; the names are Triton's."""

    NONE = "none"
    EXPLICIT = "explicit"


class ResultStep(Group):
    """One step of the result processor, applied to one output in the order given."""

    output: str = Field(description="The model output it works on.")
    apply: Literal["softmax", "sigmoid", "argmax", "top_k"] = Field(
        description="softmax, sigmoid: same shape. argmax: drops the last axis, INT64. "
        'top_k: BYTES `"<value>:<index>[:<label>]"`, best first.'
    )
    k: Annotated[int, Field(ge=1)] = Field(default=5, description="How many, for top_k.")


class StateTensor(Group):
    """One tensor that goes from each request of a sequence to the next."""

    input: str = Field(description="The model input that takes what is remembered.")
    output: str = Field(description="The model output that gives what to remember next.")
    batch_axis: Annotated[int, Field(ge=0, le=31)] = Field(
        default=0, description="Which axis of both has the rows."
    )
    initial: float = Field(default=0.0, description="Every element of it in a new sequence.")


Number = bool | int | float


class Sequence(Group):
    """A model with a memory: what of its inputs and outputs is state, and how long it is kept."""

    state: Annotated[tuple[StateTensor, ...], Field(min_length=1)] = Field(
        description="What is remembered. Clients see neither these inputs nor these outputs."
    )
    constants: dict[str, Number | tuple[Number, ...]] = Field(
        default_factory=dict,
        description="Inputs that every request would repeat: `{sr: 16000}`. Clients do not see "
        "them.",
    )
    idle_s: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="A sequence without a request for this long is forgotten."
    )
    max_streams: Annotated[int, Field(ge=1)] = Field(
        default=4096, description="Sequences at once; one more is refused."
    )

    @field_validator("state")
    @classmethod
    def _once(cls, state: tuple[StateTensor, ...]) -> tuple[StateTensor, ...]:
        for names in ([one.input for one in state], [one.output for one in state]):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"names {min(twice)!r} twice: each tensor is state once")
        return state


class Card(Group):
    """What a model says of itself: `card.yaml` beside the model, or under `models` in the file."""

    slo_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="The latency objective in milliseconds. None: no objective, no shedding.",
    )
    labels: tuple[str, ...] | Path | None = Field(
        default=None,
        description="Class names, or a text file with one a line (relative to the file saying so).",
    )
    results: tuple[ResultStep, ...] = Field(default=(), description="Result-processor steps.")
    accepts: tuple[AcceptedInput, ...] = Field(
        default=(), description="Inputs that may come as files to `/predict`: see docs/media.md."
    )
    batched: bool | None = Field(
        default=None,
        description="Whether axis 0 is a batch axis. None: found from the signature and checked.",
    )
    max_batch: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64, description="The largest batch that warm-up tries; the knee may cap it lower."
    )
    buckets: dict[str, dict[int, tuple[int, ...]]] = Field(
        default_factory=dict,
        description="Sizes to pad a free axis up to: `{input: {axis: [16, 32, 64]}}`. Axis 0 is "
        "the batch axis. Without buckets only requests of equal shape share a batch.",
    )
    pad_values: dict[str, float] = Field(
        default_factory=dict, description="What an input is padded with; 0 when not named."
    )
    warm_shapes: dict[str, tuple[tuple[int, ...], ...]] = Field(
        default_factory=dict,
        description="Item shapes (without the batch axis) to warm up inputs with free axes at, in "
        "step across inputs. None given: the buckets, else 1s of a small size.",
    )
    sequence: Sequence | None = Field(
        default=None,
        description="The state that the server keeps between the requests of a sequence.",
    )


class ModelSettings(Card):
    """One model. Every key of its card may be given here and wins over `card.yaml`."""

    path: Path | None = Field(
        default=None,
        description="A model file, a versioned folder (`1/model.onnx`), or a folder of those.",
    )
    name: str | None = Field(default=None, description="The name it is served under.")
    backend: BackendName = Field(
        default=BackendName.AUTO,
        description="auto: OpenVINO on x86, ONNX Runtime elsewhere; of a model whose run is "
        "shorter than 0.5 ms, the faster of both.",
    )
    precision: Precision = Field(
        default=Precision.F32, description="Arithmetic inside the backend."
    )
    instances: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="Concurrent lanes. None: cores / threads, at least 1."
    )
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1, description="Threads of one instance."
    )
    nice: Annotated[int, Field(ge=0, le=19)] = Field(
        default=10,
        description="How far its engine stands back from the receiver, and from other programs, "
        "when both want a core: `nice` of the process.",
    )
    max_queue: Annotated[int, Field(ge=1)] = Field(
        default=2048, description="Requests that may wait; one more is refused with queue_full."
    )
    version_labels: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="What TensorFlow Serving's clients call versions: `{stable: 1, canary: 2}`. "
        "Every version named must be there.",
    )
    slot_mib: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64,
        description="Shared memory of one slot, inputs; the pages used are what it costs.",
    )


class ServerSettings(Group):
    """The receiver and the life of the server."""

    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="The port of every protocol; 0 picks a free one."
    )
    host: str = Field(default="0.0.0.0", description="The address of `port`.")  # noqa: S104
    listen: tuple[str, ...] = Field(
        default=(), description="More `ADDR:PORT`s, for clients that expect 8500, 8501 or 8001."
    )
    default_model: str | None = Field(
        default=None, description="What `POST /predict` runs. None: the only model."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Whose pages a browser lets ask this server: origins as "
        "`https://shop.example`, or `*` for all. None given: no other origin's.",
    )
    max_body_mib: Annotated[float, Field(gt=0, le=2047)] = Field(
        default=64, description="The largest request body, after decompression."
    )
    max_inflight: Annotated[int, Field(ge=1)] = Field(
        default=8192, description="Requests in the receiver at once; one more is refused."
    )
    shared_memory: bool = Field(
        default=False,
        description="Whether clients on this machine may hand over tensors in POSIX shared memory "
        "(Triton's system_shared_memory). They can then read and write whatever the server's user "
        "has there.",
    )
    drain_timeout_s: Annotated[float, Field(ge=0)] = Field(
        default=30.0, description="How long SIGTERM waits for requests in flight."
    )
    model_control: ModelControl = Field(
        default=ModelControl.NONE,
        description="explicit: whoever can reach the server may load, unload and reload models.",
    )
    model_roots: tuple[Path, ...] = Field(
        default=(),
        description="More folders that models may be reloaded from over the wire, besides those "
        "of `models`.",
    )
    trace_dir: Path | None = Field(
        default=None,
        description="A folder for traces of requests, which clients may then turn on and name "
        "files in (Triton's trace extension). None: no traces.",
    )
    engine_restart_limit: Annotated[int, Field(ge=1)] = Field(
        default=5,
        description="Engine deaths within `engine_restart_window_s` that mark a model failed.",
    )
    engine_restart_window_s: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="See `engine_restart_limit`."
    )
    load_timeout_s: Annotated[float, Field(gt=0)] = Field(
        default=300.0, description="How long a model may take to load and warm up."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe line that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, JSON lines elsewhere."
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for text in origins:
            if not (text == "*" or _ORIGIN.fullmatch(text)):
                raise ValueError("should be * or an origin, as in https://shop.example:8443")
        return origins

    @field_validator("listen")
    @classmethod
    def _addresses(cls, listen: tuple[str, ...]) -> tuple[str, ...]:
        for text in listen:
            host, _, port = text.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and int(port) <= _LAST_PORT):
                raise ValueError("should be ADDR:PORT, as in 127.0.0.1:8500 or [::1]:8500")
        return listen


class Settings(Group):
    """The whole tree."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    defaults: ModelSettings = Field(
        default_factory=ModelSettings, description="What every model takes where it says nothing."
    )
    models: tuple[ModelSettings, ...] = Field(default=(), description="The models to serve.")

    @field_validator("defaults")
    @classmethod
    def _no_identity(cls, defaults: ModelSettings) -> ModelSettings:
        named = [name for name in _NO_DEFAULTS if name in defaults.model_fields_set]
        if named:
            raise ValueError(f"{named[0]} belongs to one model, under `models`")
        return defaults


class Setting(NamedTuple):
    """One leaf of the tree, for those who list them: environment, flags, documentation."""

    key: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return _PREFIX + self.key.upper().replace(".", "__")

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return place(self.field).allowed


def listing() -> Iterator[Setting]:
    """Every setting that has a key of its own: ``server.*``, ``defaults.*`` and ``models``."""
    for name, field in ServerSettings.model_fields.items():
        yield Setting(f"server.{name}", field)
    for name, field in ModelSettings.model_fields.items():
        if name not in _NO_DEFAULTS:
            yield Setting(f"defaults.{name}", field)
    yield Setting("models", Settings.model_fields["models"])


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Merge flags over the environment over the file over the defaults, and check everything.

    ``flags`` maps dotted keys to values, None meaning not given; ``models.*.KEY`` sets KEY of every
    model. Values that are mappings or lists are replaced whole, not merged. Paths in the file are
    relative to the file, others to the working directory.

    Raises:
        SettingsError: names every problem, a line each, with its file and line, variable or flag.
    """
    layers = [Document({}, {}) if file is None else _from_file(file)]
    variables, problems = _from_environment(environment)
    layers += [variables, _from_flags(flags)]
    merged = merge(layers)
    _set_on_every_model(merged, flags)
    try:
        loaded = Settings.model_validate(merged.data)
        problems += [
            located(("models", index), "`path` must be given", merged.origins)
            for index, entry in enumerate(loaded.models)
            if entry.path is None
        ]
    except ValidationError as error:
        problems += explain(error, Settings, merged.data, merged.origins)
    if problems:
        raise SettingsError("\n".join(problems))
    return loaded


def resolve(
    entry: ModelSettings, card: Card, defaults: ModelSettings, *, cores: int
) -> ModelSettings:
    """Settle the settings of one model: its entry > its card > ``defaults`` > built in.

    ``instances`` becomes a number (``cores // threads``, at least 1); a backend of ``auto`` is left
    to the engine.
    """
    said: dict[str, Any] = {}
    for layer in (defaults, card, entry):
        said |= {name: getattr(layer, name) for name in layer.model_fields_set}
    settled = ModelSettings.model_validate(said)
    if settled.instances is not None:
        return settled
    return settled.model_copy(update={"instances": max(1, cores // settled.threads)})


def _from_file(file: Path) -> Document:
    document = read(file)
    # A section whose every line is commented out reads as null.
    data = {section: value for section, value in document.data.items() if value is not None}
    models = data.get("models")
    server = data.get("server")
    if isinstance(server, dict) and isinstance(server.get("model_roots"), list):
        server["model_roots"] = [str(file.parent / root) for root in server["model_roots"]]
    if isinstance(server, dict) and isinstance(server.get("trace_dir"), str):
        server["trace_dir"] = str(file.parent / server["trace_dir"])
    for entry in [*(models if isinstance(models, list) else ()), data.get("defaults")]:
        if isinstance(entry, dict):
            anchor_paths(entry, file.parent)
    return Document(data, document.origins)


def _from_environment(environment: Mapping[str, str]) -> tuple[Document, list[str]]:
    """Read the variables that are settings, and name the problems of those that are none."""
    known = {setting.variable: setting for setting in listing()}
    document, problems = Document({}, {}), []
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX) or not text:  # empty: as good as not set
            continue
        setting = known.get(variable)
        if setting is None:
            problems.append(
                f"environment {variable}: unknown variable{_alike(variable, list(known))}"
            )
            continue
        try:
            value = _value(text, setting)
        except yaml.YAMLError:
            problems.append(f"environment {variable}: {text!r} is not valid YAML or JSON")
            continue
        document.put(tuple(setting.key.split(".")), value, f"environment {variable}")
    return document, problems


def _alike(variable: str, known: list[str]) -> str:
    """Name the variable that was meant; without the prefix, which makes all of them look alike."""
    names = [name.removeprefix(_PREFIX) for name in known]
    close = difflib.get_close_matches(variable.removeprefix(_PREFIX), names, n=1)
    if not close:
        return "; docs/settings.md lists them all"
    return f"; did you mean `{_PREFIX}{close[0]}`?"


def _value(text: str, setting: Setting) -> Any:
    """Read a variable: text as it is, lists and mappings as YAML, a list of words by its commas."""
    here = place(setting.field)
    if here.takes_many and text[0] + text[-1] in {"[]", "{}"}:
        return yaml.safe_load(text)
    if here.takes_words:
        return [part.strip() for part in text.split(",")]
    return None if here.takes_null and text == "null" else text


def _from_flags(flags: Mapping[str, Any]) -> Document:
    document = Document({}, {})
    for key, value in flags.items():
        if value is not None and not key.startswith(_EVERY_MODEL):
            document.put(tuple(key.split(".")), value, _flag(key))
    return document


def _flag(key: str) -> str:
    return "argument" if key == "models" else f"flag --{key.rpartition('.')[2].replace('_', '-')}"


def _set_on_every_model(document: Document, flags: Mapping[str, Any]) -> None:
    entries = document.data.get("models")
    every = {
        key.removeprefix(_EVERY_MODEL): value
        for key, value in flags.items()
        if key.startswith(_EVERY_MODEL) and value is not None
    }
    if not every or not isinstance(entries, list):
        return
    document.data["models"] = [e | every if isinstance(e, dict) else e for e in entries]
    for index in range(len(entries)):
        for name in every:
            document.origins.pop(("models", index, name), None)  # problems are told in this order
            document.origins["models", index, name] = _flag(name)
