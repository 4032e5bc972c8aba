"""Triton's ``config.pbtxt`` in our words.

Fields and meanings: triton-inference-server/common protobuf/model_config.proto.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import partial
from typing import NamedTuple

from headrace.importers.labels import OUTSIDE, is_named_inside
from headrace.importers.rules import Draft, Fate, Handler, Imported, Rule, Spot, walk
from headrace.importers.sequences import SEQUENCE_RULES, add_sequence
from headrace.importers.signatures import RULE as _OF_SIGNATURE
from headrace.importers.signatures import add_signature, is_torchscript
from headrace.importers.textproto import Field, Message, parse
from headrace.importers.versions import add_versions

CONFIG_NAME = "config.pbtxt"

_HIGHEST_BATCH = 4096
_HIGHEST_COUNT = 256
_LONGEST_LINGER_US = 10_000_000
# Dimensions of tensors, the most that a shape may have anywhere here.
_LARGEST_DIM = 2**31 - 1
# Each is run at every batch size before the model is ready.
_MOST_SHAPES = 256
_MAPPED, _OWN, _LOST = Fate.MAPPED, Fate.NOT_NEEDED, Fate.NOT_MAPPED
_SIGNATURE = Rule(_OWN, "", "read from the model itself")
_GPU = Rule(_OWN, "", "`device` says what runs a model")
_FRAMEWORKS = {"openvino": "openvino"}
_NO_BACKEND = {
    "ensemble": "ensembles: call its models one after the other, or export them as one",
    "tensorflow_graphdef": "frozen graphs: save the model as a SavedModel",
    "tensorrt": "TensorRT plans: export the model to ONNX",
    "python": "Triton's Python models: write them as a class with `infer`",
    "dali": "DALI pipelines: `accepts` decodes and resizes images",
    "vllm": "generation engines",
    "tensorrtllm": "generation engines",
    "fil": "forests of FIL: export the model to ONNX",
}
_HERE = {"onnxruntime", "openvino", "tensorflow", "pytorch", ""}

RULES: dict[str, Rule] = {
    "name": Rule(_MAPPED, "name", ""),
    "platform": Rule(
        _MAPPED, "backend", "auto unless OpenVINO is named: the fastest that reads it"
    ),
    "backend": Rule(_MAPPED, "backend", "auto unless OpenVINO is named: the fastest that reads it"),
    "runtime": Rule(_LOST, "", "a runtime of one's own: serve a Python file instead"),
    "version_policy.latest": Rule(
        _MAPPED, "versions", "`{latest: N}`; N is 1 where it is not said"
    ),
    "version_policy.all": Rule(_MAPPED, "versions", "`all`"),
    "version_policy.specific": Rule(_MAPPED, "versions", "`{specific: [...]}`"),
    "max_batch_size": Rule(
        _MAPPED,
        "max_batch",
        "0 becomes `batched: false`; otherwise warm-up finds out whether it can",
    ),
    "input.name": _OF_SIGNATURE,
    "input.data_type": _OF_SIGNATURE,
    "input.format": _SIGNATURE,
    "input.dims": _OF_SIGNATURE._replace(
        words=f"{_OF_SIGNATURE.words}; for free axes, see `warm_shapes`"
    ),
    "input.reshape": Rule(_LOST, "", "clients send the shape that the model itself has"),
    "input.is_shape_tensor": _SIGNATURE,
    "input.allow_ragged_batch": Rule(
        _LOST, "", "`buckets` lets requests of other shapes share runs"
    ),
    "input.optional": Rule(_LOST, "", "clients send every input"),
    "input.is_non_linear_format_io": _GPU,
    "output.name": _OF_SIGNATURE,
    "output.data_type": _OF_SIGNATURE,
    "output.dims": _OF_SIGNATURE,
    "output.reshape": Rule(_LOST, "", "clients get the shape that the model itself has"),
    "output.label_filename": Rule(_MAPPED, "labels", "of the first output that has one"),
    "output.is_shape_tensor": _SIGNATURE,
    "output.is_non_linear_format_io": _GPU,
    "batch_input": Rule(_LOST, "", "the model must not want to know its batch"),
    "batch_output": Rule(_LOST, "", "the model must not want to know its batch"),
    "optimization.graph": Rule(_OWN, "", "backends optimise as far as they can"),
    "optimization.priority": Rule(_LOST, "", "set `nice` of the model"),
    "optimization.cuda": _GPU,
    "optimization.execution_accelerators": Rule(
        _LOST, "", "set `backend` and `precision`; auto takes OpenVINO where it is faster"
    ),
    "optimization.input_pinned_memory": _GPU,
    "optimization.output_pinned_memory": _GPU,
    "optimization.gather_kernel_buffer_threshold": _GPU,
    "optimization.eager_batching": Rule(_OWN, "", "the next batch is assembled while one runs"),
    "dynamic_batching.preferred_batch_size": Rule(_OWN, "", "warm-up measures which sizes pay"),
    "dynamic_batching.max_queue_delay_microseconds": Rule(
        _MAPPED,
        "linger_ms",
        "hardly ever pays here: try without; say what counts with `slo_ms`",
    ),
    "dynamic_batching.preserve_ordering": Rule(_LOST, "", "requests are answered as they are done"),
    "dynamic_batching.priority_levels": Rule(_OWN, "", "requests may have any priority"),
    "dynamic_batching.default_priority_level": Rule(
        _LOST, "", "a request without a priority is in the middle"
    ),
    "dynamic_batching.default_queue_policy.timeout_action": Rule(
        _LOST, "", "what is too late to count is refused at once"
    ),
    "dynamic_batching.default_queue_policy.default_timeout_microseconds": Rule(
        _LOST,
        "",
        "set `slo_ms`, the latency within which an answer counts; this limits the queue only",
    ),
    "dynamic_batching.default_queue_policy.allow_timeout_override": Rule(
        _OWN, "", "a request's own timeout always counts"
    ),
    "dynamic_batching.default_queue_policy.max_queue_size": Rule(
        _MAPPED, "max_queue", "0, without a bound, becomes the default: queues are bounded"
    ),
    "dynamic_batching.priority_queue_policy": Rule(_LOST, "", "one queue has all priorities"),
    **SEQUENCE_RULES,
    "ensemble_scheduling": Rule(_LOST, "", "call its models one after the other, or export as one"),
    "instance_group.name": Rule(_OWN, "", "instances need no names"),
    "instance_group.kind": Rule(_OWN, "", "decides what becomes of `count`"),
    "instance_group.count": Rule(
        _MAPPED,
        "instances",
        "of KIND_CPU, and KIND_AUTO without `gpus`, added up; a group without one adds none",
    ),
    "instance_group.rate_limiter": Rule(_LOST, "", "models take turns by their `weight`"),
    "instance_group.gpus": _GPU,
    "instance_group.secondary_devices": _GPU,
    "instance_group.profile": _GPU,
    "instance_group.passive": Rule(_LOST, "", "every instance takes requests"),
    "instance_group.host_policy": Rule(_LOST, "", "`placement: node` or `cores`, of the model"),
    "default_model_filename": Rule(
        _OWN, "", "looked up when a version folder has several model files, or a `model.py` too"
    ),
    "cc_model_filenames": _GPU,
    "metric_tags": Rule(_LOST, "", "label metrics where they are scraped"),
    "parameters": Rule(
        _LOST, "", "of a backend; only `intra_op_thread_count` becomes something: `threads`"
    ),
    "model_warmup": Rule(
        _MAPPED,
        "warm_shapes",
        "shapes only: warm-up makes its own data; none without `max_batch_size`, none before a "
        "`reshape`",
    ),
    "model_operations": Rule(_LOST, "", "custom operations are not loaded"),
    "model_transaction_policy.decoupled": Rule(_LOST, "", "every request has one answer"),
    "model_repository_agents": Rule(_LOST, "", "prepare the files before they are served"),
    "response_cache": Rule(_LOST, "", "no answer is kept; cache in front of the server"),
    "model_metrics": Rule(_OWN, "", "histograms have buckets of their own"),
}
"""Every field of ``config.pbtxt``, and what becomes of it."""


def read_config(text: str, source: str) -> Imported:
    """Read a ``config.pbtxt``; paths in the keys are as written, relative to its folder.

    Raises:
        SettingsError: it is not protobuf's text format, or a field is of another kind; with the
            file and the line.
    """
    message = parse(text, source)
    draft = Draft(source, RULES)
    handlers = _HANDLERS
    if message.all("model_warmup"):  # of which there may be thousands
        handlers = {**_HANDLERS, "model_warmup": partial(_warmup, _reshaped(message))}
    walk(draft, message, RULES, handlers)
    if is_torchscript(message):
        add_signature(draft, message)
    return draft.done()


class ModelFile(NamedTuple):
    """What a configuration says of the model file in a version's folder.

    ``name``: what it is called, empty where nothing is said; ``of_framework``: whether a backend
    is named that reads models, and runs no script.
    """

    name: str = ""
    of_framework: bool = False


def read_model_file(text: str, source: str) -> ModelFile:
    """Read what a ``config.pbtxt`` says of the model file.

    Raises:
        SettingsError: as ``read_config``.
    """
    message = parse(text, source)
    name, *kinds = (
        "" if (field := message.one(key)) is None else field.text()
        for key in ("default_model_filename", "backend", "platform")
    )
    return ModelFile(name, any(kind and kind.partition("_")[0] in _HERE for kind in kinds))


def _name(draft: Draft, spot: Spot) -> None:
    name = draft.only(spot).text()
    if name:
        draft.put(spot, "name", name)
    else:
        draft.note(spot, _OWN, "", "an empty name is the folder's")


def _backend(draft: Draft, spot: Spot) -> None:
    said = draft.only(spot).text()
    name = said.partition("_")[0]
    reason = _NO_BACKEND.get(said) or _NO_BACKEND.get(name)
    if reason is None and name not in _HERE:
        reason = "custom backends: serve a Python file instead"
    if reason is not None:
        draft.left_out = f"{spot.field.place}: {spot.path} {spot.field.shown()}: no {reason}"
        draft.lose(spot, f"there are no {reason}")
    elif name in _FRAMEWORKS:
        draft.put(spot, "backend", _FRAMEWORKS[name])
    else:
        draft.note(spot, _OWN, "", "the fastest backend that reads the file")


def _ensemble(draft: Draft, spot: Spot) -> None:
    draft.left_out = f"{spot.field.place}: {spot.path}: no {_NO_BACKEND['ensemble']}"
    draft.note(spot, *RULES[spot.path])


def _decoupled(draft: Draft, spot: Spot) -> None:
    if draft.only(spot).flag():
        draft.left_out = f"{spot.field.place}: {spot.path}: every request here has one answer"
        draft.note(spot, *RULES[spot.path])
    else:
        draft.note(spot, _OWN, "", "every request has one answer")


def _max_batch(draft: Draft, spot: Spot) -> None:
    size = draft.size(spot, 0, _HIGHEST_BATCH)
    if size == 0:
        draft.put(spot, "batched", value=False, words="0: requests do not share a run")
    elif size is not None:
        draft.put(spot, "max_batch", size)


def _labels(draft: Draft, spot: Spot) -> None:
    file = draft.only(spot).text()
    if "labels" in draft.keys or not file:
        draft.lose(spot, "one list of labels a model: that of the first output")
    elif not is_named_inside(file):
        draft.lose(spot, OUTSIDE)
    else:
        draft.put(spot, "labels", file)


def _max_queue(draft: Draft, spot: Spot) -> None:
    size = draft.size(spot, 0, 2**32)
    if size == 0:
        draft.note(spot, _OWN, "", "every queue is bounded; the default is `max_queue: 2048`")
    elif size is not None:
        draft.put(spot, "max_queue", size)


def _linger(draft: Draft, spot: Spot) -> None:
    micros = draft.size(spot, 0, _LONGEST_LINGER_US)
    if micros == 0:
        draft.note(spot, _OWN, "", "the default: a free lane takes what there is")
    elif micros is not None:
        draft.put(spot, "linger_ms", micros / 1e3)


def _instances(draft: Draft, spot: Spot) -> None:
    kind = spot.parent.one("kind")
    name = "KIND_AUTO" if kind is None else kind.name_of()
    if name in {"KIND_GPU", "1"} or (name in {"KIND_AUTO", "0"} and spot.parent.all("gpus")):
        draft.lose(
            spot,
            "instances of a GPU: for one, say `device: cuda`; else they follow from the cores "
            "unless `instances` is set",
        )
    elif name in {"KIND_MODEL", "3"}:
        draft.lose(spot, "decided by the model there; here set `instances`")
    else:
        count = draft.size(spot, 1, _HIGHEST_COUNT)
        if count is not None:
            total = min(_HIGHEST_COUNT, draft.keys.get("instances", 0) + count)
            draft.put(spot, "instances", total)


def _parameter(draft: Draft, spot: Spot) -> None:
    entry = spot.field.message()
    key, value = entry.one("key"), entry.one("value")
    name = "" if key is None else key.text()
    inner = None if value is None else value.message().one("string_value")
    said = "" if inner is None else inner.text()
    here = spot._replace(path=f"parameters[{ascii(name)[1:-1]}]")
    if name != "intra_op_thread_count":
        draft.lose(here, RULES[spot.path].words)
    elif said.isascii() and said.isdigit() and len(said) <= 9 and int(said) > 0:  # noqa: PLR2004
        draft.put(here, "threads", min(_HIGHEST_COUNT, int(said)), "threads of one instance")
    else:
        draft.lose(here, "set `threads`")


def _warmup(reshaped: AbstractSet[str], draft: Draft, spot: Spot) -> None:
    shapes = dict(map(_warm_input, spot.field.message().all("inputs")))
    if spot.parent.one("max_batch_size") is None:  # then it is 0 there, and here not known
        draft.lose(
            spot,
            "without `max_batch_size` its shapes have the batch axis too: say `max_batch_size`, 0 "
            "perhaps, or name shapes under `warm_shapes`",
        )
        return
    if shapes.keys() & reshaped:
        draft.lose(
            spot,
            "its shapes are those before `reshape`: name the model's own under `warm_shapes`",
        )
        return
    if not shapes or any(not 0 < dim <= _LARGEST_DIM for dims in shapes.values() for dim in dims):
        draft.lose(spot, "no shape to warm up at: name some under `warm_shapes`")
        return
    known: dict[str, list[list[int]]] = draft.keys.get("warm_shapes", {})
    if known and known.keys() != shapes.keys():
        draft.lose(spot, "has other inputs than the one before; shapes go in step across inputs")
        return
    if any(len(dims) >= _MOST_SHAPES for dims in known.values()):
        draft.lose(spot, f"{_MOST_SHAPES} shapes are warmed up at; the rest are as they come")
        return
    steps = [dict(zip(known, step, strict=True)) for step in zip(*known.values(), strict=True)]
    if shapes in steps:
        draft.note(spot, _OWN, "warm_shapes", "every batch size is warmed up at this shape already")
        return
    merged = {name: [*known.get(name, []), dims] for name, dims in shapes.items()}
    draft.put(spot, "warm_shapes", merged)


def _reshaped(message: Message) -> set[str]:
    """The inputs whose shape in the model is another than the clients'."""
    inputs = [entry.message() for entry in message.all("input")]
    names = [one.one("name") for one in inputs if one.all("reshape")]
    return {name.text() for name in names if name is not None}


def _warm_input(entry: Field) -> tuple[str, list[int]]:
    message = entry.message()
    key, value = message.one("key"), message.one("value")
    dims = () if value is None else value.message().all("dims")
    return ("" if key is None else key.text()), [dim.whole() for dim in dims]


_HANDLERS: dict[str, Handler] = {
    "name": _name,
    "platform": _backend,
    "backend": _backend,
    "version_policy.latest": add_versions,
    "version_policy.all": add_versions,
    "version_policy.specific": add_versions,
    "max_batch_size": _max_batch,
    "output.label_filename": _labels,
    "dynamic_batching.max_queue_delay_microseconds": _linger,
    "dynamic_batching.default_queue_policy.max_queue_size": _max_queue,
    "sequence_batching": add_sequence,
    "ensemble_scheduling": _ensemble,
    "instance_group.count": _instances,
    "parameters": _parameter,
    "model_transaction_policy.decoupled": _decoupled,
}
