"""TensorFlow Serving's ``model_config_file`` and ``batching_parameters_file`` in our words.

Fields and meanings: tensorflow/serving config/model_server_config.proto and
servables/tensorflow/session_bundle_config.proto.
"""

from __future__ import annotations

from headrace.importers.rules import Draft, Fate, Handler, Imported, Rule, Spot, walk
from headrace.importers.textproto import Message
from headrace.importers.versions import add_versions
from headrace.urls import read

_MAPPED, _OWN, _LOST = Fate.MAPPED, Fate.NOT_NEEDED, Fate.NOT_MAPPED
_HIGHEST_BATCH = 4096
_LONGEST_QUEUE = 2**32
_LOW = Rule(_LOST, "", "requests have priorities of their own, in one queue")

MODEL_RULES: dict[str, Rule] = {
    "name": Rule(_MAPPED, "name", ""),
    "base_path": Rule(_MAPPED, "path", "a folder, or the URL of one: `s3://`, `gs://`, `https://`"),
    "model_platform": Rule(_OWN, "", "the fastest backend that reads the file"),
    "model_type": Rule(_OWN, "", "the fastest backend that reads the file"),
    "model_version_policy.latest": Rule(
        _MAPPED, "versions", "`{latest: N}`; N is 1 where it is not said"
    ),
    "model_version_policy.all": Rule(_MAPPED, "versions", "`all`"),
    "model_version_policy.specific": Rule(_MAPPED, "versions", "`{specific: [...]}`"),
    "version_labels": Rule(_MAPPED, "version_labels", ""),
    "logging_config": Rule(_LOST, "", "requests are not logged; `server.trace_dir` traces some"),
}
"""Every field of ``model_config_list.config``, and what becomes of it."""

BATCHING_RULES: dict[str, Rule] = {
    "max_batch_size": Rule(_MAPPED, "max_batch", "of `defaults`"),
    "batch_timeout_micros": Rule(
        _OWN, "", "a batch waits only while waiting pays; say what counts with `slo_ms`"
    ),
    "max_enqueued_batches": Rule(
        _MAPPED, "max_queue", "of `defaults`: times `max_batch_size`, for ours counts requests"
    ),
    "num_batch_threads": Rule(_OWN, "", "instances follow from the cores; else set `instances`"),
    "thread_pool_name": Rule(_OWN, "", "every model has a process of its own"),
    "allowed_batch_sizes": Rule(_OWN, "", "warm-up measures which sizes pay"),
    "pad_variable_length_inputs": Rule(
        _LOST, "", "name the sizes to pad to under `buckets` of the model"
    ),
    "enable_large_batch_splitting": Rule(
        _OWN, "", "a request of more rows than a batch may have is always run in parts"
    ),
    "max_execution_batch_size": Rule(_OWN, "", "warm-up measures up to which size a batch pays"),
    "batch_padding_policy": Rule(_OWN, "", "batches are not padded, where the backend allows"),
    "mixed_priority_batching_policy": _LOW,
    "enable_priority_queue": _LOW,
    "low_priority_max_batch_size": _LOW,
    "low_priority_batch_timeout_micros": _LOW,
    "low_priority_max_enqueued_batches": _LOW,
    "low_priority_allowed_batch_sizes": _LOW,
}
"""Every field of a ``batching_parameters_file``, and what becomes of it."""


def read_models(message: Message, source: str) -> tuple[Imported, ...]:
    """Read a ``model_config_file``, one entry a model.

    Raises:
        SettingsError: a field is of another kind; with the file and the line.
    """
    models: list[Imported] = []
    for field in message.fields:
        if field.name == "model_config_list":
            models += _list(field.message(), source)
        else:
            draft = Draft(source, MODEL_RULES)
            known = field.name == "custom_model_config"
            reason = "sources of models that are linked into a server of one's own"
            fate, words = (_LOST, reason) if known else (Fate.UNKNOWN, "no such field")
            draft.note(Spot(field.name, field, message), fate, "", words)
            draft.left_out = f"{field.place}: {field.name}: {words}"
            models.append(draft.done())
    return tuple(models)


def read_batching(message: Message, source: str) -> Imported:
    """Read a ``batching_parameters_file``; its keys hold for every model.

    Raises:
        SettingsError: a field is of another kind; with the file and the line.
    """
    draft = Draft(source, BATCHING_RULES)
    walk(draft, message, BATCHING_RULES, _BATCHING)
    return draft.done()


def _list(models: Message, source: str) -> list[Imported]:
    found = []
    for field in models.fields:
        draft = Draft(source, MODEL_RULES)
        if field.name == "config":
            walk(draft, field.message(), MODEL_RULES, _MODEL)
            if "path" not in draft.keys and draft.left_out is None:
                draft.left_out = f"{field.place}: config: has no base_path"
        else:
            draft.note(Spot(field.name, field, models), Fate.UNKNOWN, "", "no such field")
            draft.left_out = f"{field.place}: {field.name}: no such field"
        found.append(draft.done())
    return found


def _name(draft: Draft, spot: Spot) -> None:
    draft.put(spot, "name", draft.only(spot).text())


def _path(draft: Draft, spot: Spot) -> None:
    try:
        path = read(draft.only(spot).text())
    except ValueError as error:
        draft.left_out = f"{spot.field.place}: {spot.path}: {error}"
        draft.lose(spot, str(error))
        return
    if path:
        draft.put(spot, "path", str(path))
    else:
        draft.lose(spot, "an empty path")


def _label(draft: Draft, spot: Spot) -> None:
    entry = spot.field.message()
    key, value = entry.one("key"), entry.one("value")
    if key is None or value is None or value.whole() < 0:
        draft.lose(spot, "a label is a name and a version from 0")
        return
    labels = {**draft.keys.get("version_labels", {}), key.text(): value.whole()}
    draft.put(spot, "version_labels", labels)


def _wrapped(draft: Draft, spot: Spot) -> Spot:
    """The number inside of protobuf's wrapper ``{ value: 32 }``; without one it is 0."""
    message = draft.only(spot).message()
    value = message.one("value")
    return spot if value is None else Spot(spot.path, value, message)


def _max_batch(draft: Draft, spot: Spot) -> None:
    inner = _wrapped(draft, spot)
    size = None if inner is spot else draft.size(inner, 1, _HIGHEST_BATCH)
    if size is not None:
        draft.put(inner, "max_batch", size)
    elif inner is spot:
        draft.lose(spot, "has no value")


def _max_queue(draft: Draft, spot: Spot) -> None:
    inner = _wrapped(draft, spot)
    batch = spot.parent.one("max_batch_size")
    rows = None if batch is None else batch.message().one("value")
    if inner is spot or rows is None or rows.whole() < 1:
        draft.lose(
            spot, "counts batches, and max_batch_size does not say how large; set `max_queue`"
        )
        return
    batches = draft.size(inner, 1, _LONGEST_QUEUE)
    if batches is not None:
        draft.put(inner, "max_queue", min(_LONGEST_QUEUE, batches * rows.whole()))


_MODEL: dict[str, Handler] = {
    "name": _name,
    "base_path": _path,
    "model_version_policy.latest": add_versions,
    "model_version_policy.all": add_versions,
    "model_version_policy.specific": add_versions,
    "version_labels": _label,
}
_BATCHING: dict[str, Handler] = {"max_batch_size": _max_batch, "max_enqueued_batches": _max_queue}
