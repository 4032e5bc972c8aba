"""One frozen tree of settings, with what each may be; ``docs/settings.md`` is generated from it.

Unknown keys are errors. ``layers`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, StrictBool, field_validator

from headrace.accepts import AcceptedInput
from headrace.declared import DeclaredSignature
from headrace.device import CPU, Device
from headrace.group import Group
from headrace.normalise import Normalised
from headrace.server_settings import ServerSettings
from headrace.signature import Signature
from headrace.urls import LocalPath, Location
from headrace.verify import Verify
from headrace.versions import Versions

NO_DEFAULTS = ("path", "name")
"""These say which model it is, so they cannot be what every model takes."""


class BackendName(StrEnum):
    """The libraries that can run a model."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    TORCH = "torch"
    INDUCTOR = "inductor"
    PYTHON = "python"
    FAKE = "fake"


class Precision(StrEnum):
    """The arithmetic a backend may use inside; inputs and outputs keep their dtypes."""

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"
    INT8 = "int8"


class Placement(StrEnum):
    """Which cores the instances of a model keep to."""

    NONE = "none"
    NODE = "node"
    CORES = "cores"


class ResultStep(Group):
    """One step of the result processor, applied to one output in the order given."""

    output: str = Field(description="The model output it works on.")
    apply: Literal["softmax", "sigmoid", "argmax", "top_k"] = Field(
        description="softmax, sigmoid: same shape. argmax: drops the last axis, INT64. "
        'top_k: BYTES `"<value>:<index>[:<label>]"`, best first.'
    )
    k: Annotated[int, Field(ge=1)] = Field(
        default=5, description="How many, for top_k; times rows at most 10,000 a request."
    )


class StateTensor(Group):
    """One tensor that goes from each request of a sequence to the next."""

    input: str = Field(description="The model input that takes what is remembered.")
    output: str = Field(description="The model output that gives what to remember next.")
    batch_axis: Annotated[int, Field(ge=0, le=31)] = Field(
        default=0, description="Which axis of both has the rows."
    )
    initial: float = Field(default=0.0, description="Every element of it in a new sequence.")


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _from_word(value: object) -> object:
    """Text that says true or false; Pydantic's own takes "1" and "t" for true as well."""
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


Number = Annotated[StrictBool | int | float, BeforeValidator(_from_word)]
Size = Annotated[int, Field(ge=1)]
MOST_INSTANCES = 256
"""Of a model, and of the threads of each."""
# What a tuned card may say, too.
Count = Annotated[int, Field(ge=1, le=MOST_INSTANCES)]
BatchSize = Annotated[int, Field(ge=1, le=4096)]
Linger = Annotated[float, Field(ge=0, le=10_000)]
Layers = Annotated[int, Field(ge=0, le=10_000)]
# Of a past that is empty, too.
Length = Annotated[int, Field(ge=0)]


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
        default=4096,
        description="Sequences at once; one more is refused. One of several rows counts as many.",
    )

    @field_validator("state")
    @classmethod
    def _once(cls, state: tuple[StateTensor, ...]) -> tuple[StateTensor, ...]:
        for names in ([one.input for one in state], [one.output for one in state]):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"names {min(twice)!r} twice: each tensor is state once")
        return state

    def visible(self, signature: Signature) -> Signature:
        """What clients see of a model with this state: its signature without that."""
        inputs = {one.input for one in self.state}
        outputs = {one.output for one in self.state}
        return replace(
            signature,
            inputs=tuple(spec for spec in signature.inputs if spec.name not in inputs),
            outputs=tuple(spec for spec in signature.outputs if spec.name not in outputs),
        )


class Card(Group):
    """What a model says of itself: `card.yaml` beside the model, or under `models` in the file."""

    slo_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="The latency objective in milliseconds. None: no objective, no shedding.",
    )
    labels: tuple[str, ...] | LocalPath | None = Field(
        default=None,
        description="Class names, or a text file with one a line (relative to the file saying so). "
        "None: those in the model file, where there are any.",
    )
    results: tuple[ResultStep, ...] = Field(default=(), description="Result-processor steps.")
    accepts: tuple[AcceptedInput, ...] = Field(
        default=(), description="Inputs that may come as files to `/predict`: see docs/media.md."
    )
    normalise: dict[str, Normalised] = Field(
        default_factory=dict,
        description="Inputs of floats that clients send as UINT8: `{input: {scale: 0.0039}}`. The "
        "device that runs the model makes numbers of them: see [gpu](gpu.md#bytes-over-the-bus).",
    )
    batched: bool | None = Field(
        default=None,
        description="Whether axis 0 is a batch axis. None: found from the signature and checked. "
        "So is `true`, unless nothing made up runs: see [models](models.md#a-python-file).",
    )
    max_batch: BatchSize = Field(
        default=64, description="The largest batch that warm-up tries; the knee may cap it lower."
    )
    linger_ms: Linger = Field(
        default=0.0,
        description="How long a batch may wait for more requests while a lane is free, in "
        "milliseconds from its oldest request. It hardly ever pays: see "
        "[scheduling](scheduling.md#lingering).",
    )
    buckets: dict[str, dict[int, tuple[Size, ...]]] = Field(
        default_factory=dict,
        description="Sizes to pad a free axis up to: `{input: {axis: [16, 32, 64]}}`. Axis 0 is "
        "the batch axis. Without buckets only requests of equal shape share a batch.",
    )
    pad_values: dict[str, float] = Field(
        default_factory=dict, description="What an input is padded with; 0 when not named."
    )
    warm_shapes: dict[str, tuple[tuple[Length, ...], ...]] = Field(
        default_factory=dict,
        description="Item shapes (without the batch axis) to warm up inputs with free axes at, in "
        "step across inputs. None given: the buckets, else 1s of a small size.",
    )
    signature: DeclaredSignature | None = Field(
        default=None,
        description="Inputs and outputs of a model whose file does not say them: TorchScript, a "
        "Python file.",
    )
    signature_name: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Which signature of a SavedModel is served, and what TensorFlow Serving's "
        "clients call that of any model. None: `serving_default`, or the only one there is.",
    )
    sequence: Sequence | None = Field(
        default=None,
        description="The state that the server keeps between the requests of a sequence.",
    )

    @field_validator("buckets")
    @classmethod
    def _sized(
        cls, buckets: dict[str, dict[int, tuple[Size, ...]]]
    ) -> dict[str, dict[int, tuple[Size, ...]]]:
        for name, axes in buckets.items():
            if empty := [axis for axis, sizes in axes.items() if not sizes]:
                raise ValueError(f"names no size for axis {empty[0]} of input {name!r}")
        return buckets

    @field_validator("warm_shapes")
    @classmethod
    def _shaped(
        cls, shapes: dict[str, tuple[tuple[Length, ...], ...]]
    ) -> dict[str, tuple[tuple[Length, ...], ...]]:
        if empty := [name for name, named in shapes.items() if not named]:
            raise ValueError(f"names no shape for input {empty[0]!r}")
        return shapes


class ModelSettings(Card):
    """One model. Every key of its card may be given here and wins over `card.yaml`."""

    path: Location | None = Field(
        default=None,
        description="A model file, a versioned folder (`1/model.onnx`), or a folder of those; or "
        "the URL of one (`s3://`, `gs://`, `https://`): see [remote](remote.md).",
    )
    name: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The name it is served under."
    )
    versions: Versions = Field(
        default=Versions(),
        description="Which of its versions to serve: `all`, `{latest: 2}`, `{specific: [1, 3]}`; "
        "in a flag or a variable `latest:2`, `specific:1,3`.",
    )
    preload: bool = Field(
        default=True,
        description="Whether it is loaded at the start. False: at its first request, which waits "
        "for it; see [operating](operating.md#models-on-demand).",
    )
    pinned: bool = Field(
        default=False,
        description="Whether it stays in memory once it is there, whatever else wants room.",
    )
    backend: BackendName = Field(
        default=BackendName.AUTO,
        description="auto: what reads the file. Of ONNX, which two read: OpenVINO on x86, ONNX "
        "Runtime elsewhere and on a GPU; of a model whose run on a CPU is shorter than 0.5 ms, the "
        "faster of both. inductor: a `.pt2` compiled by PyTorch for this processor: see "
        "[models](models.md#what-can-be-served).",
    )
    device: Device = Field(
        default=CPU,
        description="What runs it: `cpu`, or an NVIDIA GPU, `cuda` or `cuda:1`. One that is not "
        "there is an error, and never the CPU instead: see [gpu](gpu.md).",
    )
    precision: Precision = Field(
        default=Precision.F32,
        description="Arithmetic inside the backend. int8: of a model with weights of 8 bits (what "
        "is multiplied with them is rounded to 8 bits, too), by OpenVINO.",
    )
    f32_layers: Layers = Field(
        default=0,
        description="With `precision: bf16`, by OpenVINO: so many of the first layers "
        "(convolutions, products of matrices) compute in f32 all the same, for all others carry on "
        "what these round. `headrace tune` finds out how many a model needs. With another "
        "precision it says nothing.",
    )
    instances: Count | None = Field(
        default=None,
        description="Concurrent lanes. None: cores / threads, at least 1; on a GPU 1, which copies "
        "the next batch while it computes.",
    )
    threads: Count = Field(default=1, description="Threads of one instance.")
    placement: Placement = Field(
        default=Placement.NONE,
        description="Which cores it keeps to. `none`: any. `node`: those of one memory node, which "
        "its memory is then on, too. `cores`: each instance has its own. See "
        "[operating](operating.md#placement).",
    )
    nice: Annotated[int, Field(ge=0, le=19)] = Field(
        default=10,
        description="How far its engine stands back from the receiver, and from other programs, "
        "when both want a core: `nice` of the process.",
    )
    weight: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0,
        description="Its part of the machine when several models want more than there is: one of "
        "weight 2 gets twice the time of one of weight 1. What a model leaves, others use; see "
        "[scheduling](scheduling.md#many-models-on-one-machine).",
    )
    max_queue: Annotated[int, Field(ge=1)] = Field(
        default=2048,
        description="Requests that may wait; one more is refused with queue_full, or takes the "
        "place of one of a lower priority. One of more rows than a batch has counts once for each "
        "batch it takes.",
    )
    version_labels: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="What TensorFlow Serving's clients call versions: `{stable: 1, canary: 2}`. "
        "Every version named must be there.",
    )
    verify: Verify = Field(
        default=Verify(),
        description="Whether a new version, or one that replaces it, must answer as the one that "
        "serves before it takes over: `shadow`, or `{mode: shadow, difference: 0.02}`; see "
        "[models](models.md#verify-a-new-version).",
    )
    cache: bool = Field(
        default=True,
        description="Whether its compiled form and what warm-up measured are kept in "
        "`server.cache_dir`, for a fast next start. False: nothing of it is written.",
    )
    control: bool = Field(
        default=True,
        description="Whether the number of lanes that run at a time follows what their runs cost "
        "each other, up to `instances`: see [scheduling](scheduling.md#steering). False: always "
        "all.",
    )
    slot_mib: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64,
        description="Shared memory of one slot, inputs; the pages used are what it costs.",
    )


class Settings(Group):
    """The whole tree."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    defaults: ModelSettings = Field(
        default_factory=ModelSettings, description="What every model takes where it says nothing."
    )
    models: tuple[ModelSettings, ...] = Field(default=(), description="The models to serve.")

    # Not a field: files do not say it.
    _every_model: ModelSettings = PrivateAttr(default_factory=ModelSettings)

    @property
    def every_model(self) -> ModelSettings:
        """What flags say of every model: `models` have it, this is for those of orders."""
        return self._every_model

    def with_every_model(self, flags: Mapping[str, Any]) -> Self:
        """The same, with what flags say of every model that no entry names."""
        said = {key: value for key, value in flags.items() if key not in NO_DEFAULTS}
        copy = self.model_copy()
        copy._every_model = ModelSettings.model_validate(said)  # noqa: SLF001 - one of ours
        return copy

    @field_validator("defaults")
    @classmethod
    def _no_identity(cls, defaults: ModelSettings) -> ModelSettings:
        named = [name for name in NO_DEFAULTS if name in defaults.model_fields_set]
        if named:
            raise ValueError(f"{named[0]} belongs to one model, under `models`")
        return defaults
