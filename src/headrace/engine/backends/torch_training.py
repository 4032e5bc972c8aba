"""What an exported program does by chance, and whether that is because it was made for training.

Operators that a model has for training (dropout, norms of batches) say so in an argument; those
that draw numbers are tagged by PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.fx import Graph, Node

from headrace.engine.backends.torch_graphs import blocks

_MODES = ("train", "training", "use_input_stats")
_NORMS = ("batch_norm", "instance_norm")
# What is left out of the numbers: nothing, where it is 0.
_SHARES = ("p", "dropout", "dropout_p")
_ALWAYS = ("aten::_batch_norm_with_update", "aten::_batch_norm_with_update_functional")
_COUNTER, _STATISTICS = "num_batches_tracked", frozenset({"running_mean", "running_var"})


def trains(program: torch.export.ExportedProgram) -> bool:
    """Whether it was exported in training mode, so that its answers are by chance."""
    return any(_trains(node, schema) for node, schema in _operators(program.graph))


def learns(program: torch.export.ExportedProgram, written: Iterable[str]) -> bool:
    """Whether a norm of batches is still trained, by the names of what the program writes to."""
    names = {name.rpartition(".")[2] for name in written}
    if _COUNTER in names:
        return True
    # A model may call a buffer of its own so.
    return bool(names & _STATISTICS) and any(
        argument.name == "running_mean"
        for _, schema in _operators(program.graph)
        for argument in schema.arguments
    )


def draws(program: torch.export.ExportedProgram) -> list[str]:
    """The operators that draw random numbers, as ``aten::bernoulli``."""
    found = (
        schema.name
        for node, schema in _operators(program.graph)
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        # These do so in training alone.
        and not {argument.name for argument in schema.arguments} & {*_MODES, "dropout_p"}
    )
    return list(dict.fromkeys(found))


def _operators(graph: Graph) -> Iterator[tuple[Node, Any]]:
    """Those of a graph and of the graphs in it, with their schemas."""
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        schema = getattr(node.target, "_schema", None)
        if schema is not None:
            yield node, schema
        else:
            for inside, _ in blocks(node):
                yield from _operators(inside)


def _trains(node: Node, schema: Any) -> bool:
    given = _given(node, schema)
    if any(given.get(name) == 0 for name in _SHARES):
        return False
    norm = any(name in schema.name for name in _NORMS)
    if norm and given.get("running_mean") is None:
        return False  # it has no statistics but the batch's, in either mode
    if schema.name in _ALWAYS or "dropout_p" in given:
        return True
    return any(given.get(name, False) is not False for name in _MODES)


def _given(node: Node, schema: Any) -> dict[str, Any]:
    """The arguments of an operator by name, with those that are left to their defaults."""
    given: dict[str, Any] = {
        one.name: one.default_value for one in schema.arguments if one.has_default_value()
    }
    given.update(zip((one.name for one in schema.arguments), node.args, strict=False))
    given.update(node.kwargs)
    return given
