"""Arithmetic in 16 bits for an exported program that was written in 32: as autocast does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

_CHECK = torch.ops.aten._assert_tensor_metadata.default  # noqa: SLF001 - it has no other name


def narrowed(
    module: Any, half: torch.dtype, outputs: Sequence[torch.dtype]
) -> Callable[..., Sequence[torch.Tensor]]:
    """Products and convolutions in ``half``, norms and softmax in 32 bits, outputs as they were.

    What is multiplied with is stored so, once; autocast would convert it in every run. Vectors
    (biases, what norms are made of) stay as they are: they cost nothing, and lose most.
    """
    for one in (*module.parameters(), *module.buffers()):
        if one.dtype is torch.float32 and one.dim() > 1:
            one.data = one.data.to(half)
    forget_checks(module)
    return Narrow(module, half, outputs)


class Narrow(torch.nn.Module):
    """A module that computes in 16 bits and answers in the dtypes it had."""

    def __init__(self, inner: Any, half: torch.dtype, outputs: Sequence[torch.dtype]) -> None:
        super().__init__()
        self._inner = inner
        self._half = half
        self._outputs = outputs

    def forward(self, *given: torch.Tensor) -> Sequence[torch.Tensor]:
        """Run it."""
        with torch.autocast(given[0].device.type, self._half, cache_enabled=False):
            found = pytree.tree_leaves(self._inner(*given))
        return [tensor.to(dtype) for tensor, dtype in zip(found, self._outputs, strict=True)]


def forget_checks(module: Any) -> None:
    """Leave out what an export notes of dtypes in between, which are others now."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in list(part.graph.nodes):
                if node.target is _CHECK:
                    part.graph.erase_node(node)
            part.recompile()
