"""Which tensors of its own an exported program changes when it runs.

Operators say of each argument whether they write to it and whether their result is a view of it;
that is followed from the program's own tensors on, so that a write through a view is seen too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from headrace.engine.backends.torch_graphs import blocks, held

Own = frozenset[str]
"""Names of a program's own tensors."""

_NONE: Own = frozenset()
# What may give back what it was given, and does not say so.
_SILENT = frozenset(
    {
        "aten::alpha_dropout",
        "aten::atleast_1d",
        "aten::atleast_2d",
        "aten::atleast_3d",
        "aten::broadcast_tensors",
        "aten::dropout",
        "aten::feature_alpha_dropout",
        "aten::feature_dropout",
        "aten::meshgrid",
        "aten::sum_to_size",
        "aten::type_as",
    }
)
_DETACH = "aten::detach_"  # is said to write, and changes no number


def changed(program: torch.export.ExportedProgram) -> set[str]:
    """The names of its buffers, parameters and constants that it writes to."""
    signature = program.graph_signature
    own = {
        **signature.inputs_to_buffers,
        **signature.inputs_to_parameters,
        **signature.inputs_to_lifted_tensor_constants,
    }
    given = {node: frozenset({own[node.name]}) for node in program.graph.nodes if node.name in own}
    found = set(signature.buffers_to_mutate.values())
    _follow(program.graph, given, found)
    return found


def _follow(graph: Graph, given: Mapping[Node, Own], found: set[str]) -> Own:
    """Note what a graph writes to; returns what its results may be views of."""
    views = dict(given)
    for node in graph.nodes:
        if node.op == "get_attr" and isinstance(held(node), torch.Tensor):
            views[node] = frozenset({str(node.target)})
        elif node.op == "output":
            return _views(node, views)
        elif node.op == "call_function":
            views[node] = _called(node, views, found)
    return _NONE


def _called(node: Node, views: Mapping[Node, Own], found: set[str]) -> Own:
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return _operator(node, schema, views, found)
    results = [
        _follow(graph, {inside: _union(stands, views) for inside, stands in each.items()}, found)
        for graph, each in blocks(node)
    ]
    # Else it takes one of several results, or is of a kind not known here.
    return _NONE.union(*results) if results else _views(node, views)


def _operator(node: Node, schema: Any, views: Mapping[Node, Own], found: set[str]) -> Own:
    if schema.name in _SILENT:
        return _views(node, views)
    if schema.name == "aten::to" and _is_converted(node):
        return _NONE
    seen = _NONE
    for place, argument in enumerate(schema.arguments):
        if argument.alias_info is None:
            continue
        one = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        own = _union(_nodes(one), views)
        if argument.alias_info.is_write and schema.name != _DETACH:
            found |= own
        seen |= own
    return seen


def _is_converted(node: Node) -> bool:
    """Whether it has another dtype than before, and so memory of its own."""
    before, after = (one.meta.get("val") for one in (node.all_input_nodes[0], node))
    if not (isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor)):
        return False
    # PyTorch has no types where it is not installed: then the comparison is of two Any.
    return bool(before.dtype != after.dtype)


def _nodes(given: Any) -> Iterator[Node]:
    return (one for one in pytree.tree_leaves(given) if isinstance(one, Node))


def _views(node: Node, views: Mapping[Node, Own]) -> Own:
    return _union(node.all_input_nodes, views)


def _union(nodes: Iterable[Node], views: Mapping[Node, Own]) -> Own:
    return _NONE.union(*(views.get(one, _NONE) for one in nodes))
