"""Between numpy's arrays and PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from headrace.values import Array, DType, Signature, TensorSpec

DTYPES: dict[torch.dtype, DType] = {
    torch.bool: DType.BOOL,
    torch.uint8: DType.UINT8,
    torch.int8: DType.INT8,
    torch.int16: DType.INT16,
    torch.int32: DType.INT32,
    torch.int64: DType.INT64,
    torch.float16: DType.FP16,
    torch.bfloat16: DType.BF16,
    torch.float32: DType.FP32,
    torch.float64: DType.FP64,
}
"""What can be served."""
TYPES = {kind: dtype for dtype, kind in DTYPES.items()}
"""The same, by our names."""


class Program(NamedTuple):
    """What was in a file: it takes the inputs of its signature in order, and so gives outputs."""

    run: Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
    signature: Signature


def explain(error: Exception) -> str:
    """What went wrong: of TorchScript the last line, which is below its code."""
    said = str(error).strip()
    if "TorchScript interpreter" in said:
        return said.rpartition("\n")[2][:500]
    return f"{type(error).__name__}: {said[:500]}"


def to_tensor(array: Array, spec: TensorSpec) -> torch.Tensor:
    """A tensor of a copy: PyTorch knows no read-only memory, and a program may write to inputs."""
    if spec.dtype is DType.BF16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def to_view(array: Array, spec: TensorSpec) -> torch.Tensor:
    """A tensor of the same memory, for a copy to elsewhere; of a copy where it is read-only."""
    if not array.flags.writeable:
        return to_tensor(array, spec)
    if spec.dtype is DType.BF16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: torch.Tensor, spec: TensorSpec) -> Array:
    """An array over the tensor's memory, or over a copy of what is not contiguous."""
    tensor = tensor.detach().contiguous()  # one that is a parameter wants gradients
    if spec.dtype is DType.BF16:
        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(DType.BF16.numpy)
    plain: Array = tensor.numpy()
    return plain
