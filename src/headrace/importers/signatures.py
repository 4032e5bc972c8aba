"""Triton's ``input`` and ``output`` as a card's ``signature``, for models that do not say it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from headrace.importers.rules import Draft, Fate, Rule
from headrace.importers.textproto import Field, Message

RULE = Rule(
    Fate.NOT_NEEDED, "", "read from the model itself; of TorchScript it becomes `signature`"
)
"""Of the fields that a signature is made of."""

_FIELDS = tuple(
    f"{side}.{name}" for side in ("input", "output") for name in ("name", "data_type", "dims")
)
# model_config.proto, DataType, in the order of its numbers from 1.
_NAMES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
_DTYPES = (*_NAMES, "FP16", "FP32", "FP64", "BYTES", "BF16")
_BY_WORD = {
    **{f"TYPE_{name}": name for name in _DTYPES},
    **{str(number): name for number, name in enumerate(_DTYPES, 1)},
    "TYPE_STRING": "BYTES",
}
_LARGEST_DIM = 2**31 - 1
_MOST_AXES = 31
_FREE = -1
# `INPUT__0`: the number is the place among the arguments.
_PLACED = re.compile(r".+__([0-9]{1,4})")


def is_torchscript(message: Message) -> bool:
    """Whether a configuration is of a model of TorchScript."""
    said = [message.one("backend"), message.one("platform")]
    file = message.one("default_model_filename")
    return any(
        one is not None and one.text().partition("_")[0] == "pytorch" for one in said
    ) and not (file is not None and file.text().endswith(".pt2"))


def add_signature(draft: Draft, message: Message) -> None:
    """Make the signature and note what it was made of; without all of it there is none."""
    size = message.one("max_batch_size")
    batch = [None] if size is not None and size.whole() > 0 else []
    inputs = _tensors(message, "input", batch)
    outputs = _tensors(message, "output", batch)
    if not inputs or not outputs:
        return
    draft.keys["signature"] = {"inputs": inputs, "outputs": outputs}
    draft.origins["signature"] = f"{message.all('input')[0].place} input"
    words = "TorchScript does not say it; a free batch axis is put before `dims`"
    draft.notes = [
        replace(note, fate=Fate.MAPPED, key="signature", words=words)
        if note.field in _FIELDS
        else note
        for note in draft.notes
    ]


def _tensors(message: Message, side: str, batch: list[None]) -> list[dict[str, Any]]:
    """The tensors in the order of the arguments; none when one of them is not whole."""
    tensors = [_tensor(field.message(), "name", batch) for field in message.all(side)]
    if not tensors:
        return []
    # What the server keeps of a sequence is named apart from what clients send and get.
    states = [_tensor(field.message(), f"{side}_name", batch) for field in _states(message)]
    tensors += [one for one in states if one is None or not _is_there(one, tensors)]
    whole = [tensor for tensor in tensors if tensor is not None]
    names = [tensor["name"] for tensor in whole]
    if len(whole) < len(tensors) or len(set(names)) < len(names):
        return []
    places = [_PLACED.fullmatch(name) for name in names]
    if all(places):
        order = sorted(zip(places, whole, strict=True), key=lambda pair: int(pair[0][1]))  # type: ignore[index]
        return [tensor for _, tensor in order]
    return whole


def _states(message: Message) -> tuple[Field, ...]:
    batching = message.one("sequence_batching")
    return () if batching is None else batching.message().all("state")


def _is_there(one: dict[str, Any], tensors: list[dict[str, Any] | None]) -> bool:
    return any(other is not None and other["name"] == one["name"] for other in tensors)


def _tensor(message: Message, called: str, batch: list[None]) -> dict[str, Any] | None:
    name, kind, reshape = (message.one(key) for key in (called, "data_type", "reshape"))
    shaped = message.all("dims") if reshape is None else reshape.message().all("shape")
    dims = [dim.whole() for dim in shaped]
    dtype = None if kind is None else _BY_WORD.get(kind.name_of())
    usable = all(dim == _FREE or 0 < dim <= _LARGEST_DIM for dim in dims)
    if name is None or not name.text() or dtype is None or len(dims) > _MOST_AXES or not usable:
        return None
    shape = [*batch, *(None if dim == _FREE else dim for dim in dims)]
    return {"name": name.text(), "dtype": dtype, "shape": shape}
