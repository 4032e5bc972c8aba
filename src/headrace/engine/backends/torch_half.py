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
    _forget_checks(module)

    def run(*given: torch.Tensor) -> Sequence[torch.Tensor]:
        with torch.autocast(given[0].device.type, half, cache_enabled=False):
            found = pytree.tree_leaves(module(*given))
        return [tensor.to(dtype) for tensor, dtype in zip(found, outputs, strict=True)]

    return run


def _forget_checks(module: Any) -> None:
    """Leave out what an export notes of dtypes in between, which are others now."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in list(part.graph.nodes):
                if node.target is _CHECK:
                    part.graph.erase_node(node)
            part.recompile()
