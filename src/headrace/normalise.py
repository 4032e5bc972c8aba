"""Inputs that clients send as bytes, and the device makes numbers of: frozen settings, pure.

A byte is a quarter of what a number takes on the wire, in shared memory and on the way to a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, NamedTuple

from pydantic import Field

from headrace.errors import ModelLoadError
from headrace.group import Group
from headrace.signature import DType, Signature, TensorSpec

_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})


class Normalised(Group):
    """An input of floats that clients send as UINT8, from 0 to 255."""

    scale: float = Field(
        default=1.0,
        description="What the model gets is `(value * scale - mean) / std`, of values from 0 to "
        "255.",
    )
    mean: tuple[float, ...] = Field(
        default=(0.0,), description="See `scale`; one, or one a channel."
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1.0,), description="See `scale`; one, or one a channel."
    )
    axis: Annotated[int, Field(ge=0, le=31)] = Field(
        default=1,
        description="Which axis of the model's input has the channels, that of the batch counted: "
        "1 of NCHW, 3 of NHWC.",
    )
    channels_last: bool = Field(
        default=False,
        description="Whether clients send the channels last, as decoders of images give them; "
        "they are moved to `axis`.",
    )


class Step(NamedTuple):
    """What is done to one input: as 32-bit floats, times ``factor``, and ``offset`` added.

    Both are one value or one a channel, of ``shape`` to spread over the model's input. ``moved_to``
    is where its last axis goes before, None where it stays; ``dtype`` is what the model takes.
    """

    name: str
    factor: tuple[float, ...]
    offset: tuple[float, ...]
    shape: tuple[int, ...]
    moved_to: int | None
    dtype: DType


def plan(
    signature: Signature, said: Mapping[str, Normalised]
) -> tuple[Signature, tuple[Step, ...]]:
    """What clients see of a model, and what is done to what they send.

    Raises:
        ModelLoadError: it does not fit the model; the message names the fix.
    """
    inputs = {spec.name: spec for spec in signature.inputs}
    unknown = said.keys() - inputs.keys()
    if unknown:
        raise ModelLoadError(
            f"normalise: the model has no input {min(unknown)!r}; it has {', '.join(inputs)}"
        )
    steps = tuple(_step(inputs[name], one, batched=signature.batched) for name, one in said.items())
    seen = tuple(_seen(spec, said.get(spec.name)) for spec in signature.inputs)
    return replace(signature, inputs=seen), steps


def _seen(spec: TensorSpec, one: Normalised | None) -> TensorSpec:
    if one is None:
        return spec
    shape = list(spec.shape)
    if _count(one) > 1:
        shape[one.axis] = _count(one)  # a free one too: of other sizes the values do not fit
    if one.channels_last:
        shape.append(shape.pop(one.axis))
    return TensorSpec(spec.name, DType.UINT8, tuple(shape))


def _count(one: Normalised) -> int:
    """How many channels its values are for; one value is for any number of them."""
    return max(len(one.mean), len(one.std))


def _step(spec: TensorSpec, one: Normalised, *, batched: bool) -> Step:
    rank = len(spec.shape)
    if spec.dtype not in _FLOATS:
        raise ModelLoadError(
            f"normalise: input {spec.name!r} is {spec.dtype.value}, and only floats are made of "
            "bytes: leave it out"
        )
    if one.axis >= rank:
        raise ModelLoadError(
            f"normalise: input {spec.name!r} has {rank} axes, and no axis {one.axis}: `axis` "
            "should be that of its channels"
        )
    if batched and one.axis == 0 and (_count(one) > 1 or one.channels_last):
        raise ModelLoadError(
            f"normalise: axis 0 of input {spec.name!r} is that of the batch: `axis` should be that "
            "of its channels"
        )
    dim, count = spec.shape[one.axis], _count(one)
    channels = dim if isinstance(dim, int) else count
    for what, values in (("mean", one.mean), ("std", one.std)):
        if len(values) not in {1, channels}:
            raise ModelLoadError(
                f"normalise: {what} of input {spec.name!r} has {len(values)} values, and axis "
                f"{one.axis} is of {channels}: give one, or {channels}"
            )
    mean, std = (values * (count // len(values)) for values in (one.mean, one.std))
    shape = tuple(count if axis == one.axis else 1 for axis in range(rank))
    moved_to = one.axis if one.channels_last and one.axis != rank - 1 else None
    factor = tuple(one.scale / each for each in std)
    offset = tuple(-less / each for less, each in zip(mean, std, strict=True))
    return Step(spec.name, factor, offset, shape, moved_to, spec.dtype)
