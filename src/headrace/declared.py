"""What a card says of the inputs and outputs of a model whose file does not; frozen settings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from headrace.group import Group
from headrace.signature import DType, Signature, TensorSpec

_LARGEST_DIM = 2**31 - 1
_MOST_AXES = 32
_FREE = -1  # as protocols and other servers write it


class DeclaredTensor(Group):
    """One input or output."""

    name: Annotated[str, Field(min_length=1)] = Field(description="What clients call it.")
    dtype: DType = Field(description="Of its elements, as the Open Inference Protocol names it.")
    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=_LARGEST_DIM)] | None, ...],
        Field(max_length=_MOST_AXES),
    ] = Field(
        description="With the batch axis first, where there is one: `[null, 3, 224, 224]`; null "
        "(or -1) where it is free."
    )

    @field_validator("shape", mode="before")
    @classmethod
    def _freed(cls, shape: Any) -> Any:
        if not isinstance(shape, list | tuple):
            return shape
        return tuple(None if dim == _FREE else dim for dim in shape)


class DeclaredSignature(Group):
    """The inputs and outputs of a TorchScript file, or of a Python file that names none."""

    inputs: Annotated[tuple[DeclaredTensor, ...], Field(min_length=1)] = Field(
        description="In the order of the model's arguments, or by their names."
    )
    outputs: Annotated[tuple[DeclaredTensor, ...], Field(min_length=1)] = Field(
        description="In the order that the model gives them, or by the keys of its dict."
    )

    @field_validator("inputs", "outputs")
    @classmethod
    def _once(cls, tensors: tuple[DeclaredTensor, ...]) -> tuple[DeclaredTensor, ...]:
        names = [tensor.name for tensor in tensors]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"names {min(twice)!r} twice")
        return tensors

    def as_signature(self) -> Signature:
        """The same as a value; batched where every shape begins with a free axis."""
        inputs, outputs = (
            tuple(TensorSpec(one.name, one.dtype, one.shape) for one in tensors)
            for tensors in (self.inputs, self.outputs)
        )
        free = all(spec.shape and spec.shape[0] is None for spec in (*inputs, *outputs))
        return Signature(inputs, outputs, batched=free)
