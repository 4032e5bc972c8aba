"""Arithmetic in 16 bits for an exported program that was written in 32: as autocast does it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from headrace.engine.backends.torch_graphs import blocks, held

_CHECK = torch.ops.aten._assert_tensor_metadata.default  # noqa: SLF001 - it has no other name

# What autocast computes in 16 bits on the processor and on a GPU alike.
_PRODUCTS = frozenset(
    f"aten::{name}"
    for name in (
        *("linear", "matmul", "mm", "bmm", "addmm", "addbmm", "baddbmm"),
        *("conv1d", "conv2d", "conv3d"),
        *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        "scaled_dot_product_attention",
    )
)
# What numbers go through as they are.
_VIEWS = frozenset(
    f"aten::{name}"
    for name in (
        *("t", "numpy_T", "transpose", "permute", "view", "reshape", "flatten"),
        *("unsqueeze", "squeeze", "expand", "contiguous", "detach", "alias"),
        *("slice", "select", "split", "split_with_sizes", "chunk", "unbind"),
    )
)


def narrowed(
    module: Any, half: torch.dtype, outputs: Sequence[torch.dtype]
) -> Callable[..., Sequence[torch.Tensor]]:
    """Products and convolutions in ``half``, norms and softmax in 32 bits, outputs as they were.

    What is only multiplied with is stored so, once; autocast would convert it in every run. All
    else (tables, grids, what is added) stays as it is, and so do vectors, which cost nothing.
    """
    for one in _factors(module):
        one.data = one.data.to(half)
    forget_checks(module)
    return Narrow(module, half, outputs)


def _factors(module: Any) -> list[torch.Tensor]:
    """The tensors that autocast would convert wherever they are used."""
    uses: dict[int, tuple[torch.Tensor, list[Node]]] = {}
    for part in module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            one = held(node) if node.op == "get_attr" and node.users else None
            if isinstance(one, torch.Tensor) and one.dtype is torch.float32 and one.dim() > 1:
                uses.setdefault(id(one), (one, []))[1].append(node)
    return [one for one, nodes in uses.values() if all(map(_is_factor, nodes))]


def _is_factor(node: Node) -> bool:
    """Whether nothing but products sees it."""
    return all(_multiplies(user, node) for user in node.users)


def _multiplies(user: Node, node: Node) -> bool:
    schema = getattr(user.target, "_schema", None)
    if schema is not None:
        return schema.name in _PRODUCTS or (schema.name in _VIEWS and _is_factor(user))
    if user.target is operator.getitem:
        return _is_factor(user)
    inside = [one for _, each in blocks(user) for one, stands in each.items() if node in stands]
    return bool(inside) and all(map(_is_factor, inside))


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
