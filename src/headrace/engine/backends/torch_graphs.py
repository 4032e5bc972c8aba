"""Graphs in the graph of an exported program: what is under ``no_grad``, the branches of ``cond``.

An operator that runs one is given it as an attribute, and after it what its placeholders stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

Stands = dict[Node, tuple[Node, ...]]
"""The placeholders of a graph, and what each may stand for outside of it."""


def blocks(node: Node) -> Iterator[tuple[Graph, Stands]]:
    """The graphs that an operator runs."""
    given = pytree.tree_leaves((node.args, node.kwargs))
    found = [(place, graph) for place, one in enumerate(given) if (graph := _graph(one))]
    for _, graph in found:
        after = given[found[-1][0] + 1 :]
        inside = [one for one in graph.nodes if one.op == "placeholder"]
        each: list[tuple[Node, ...]]
        each = [(one,) if isinstance(one, Node) else () for one in after]
        if len(each) != len(inside):  # of a kind not known here
            each = [tuple(node.all_input_nodes)] * len(inside)
        yield graph, dict(zip(inside, each, strict=True))


def held(node: Node) -> Any:
    """What an attribute of a graph is: a tensor, or a module."""
    found: Any = node.graph.owning_module
    for name in str(node.target).split("."):
        found = getattr(found, name)
    return found


def _graph(given: Any) -> Graph | None:
    if not isinstance(given, Node) or given.op != "get_attr":
        return None
    module = held(given)
    return module.graph if isinstance(module, torch.fx.GraphModule) else None
