"""Functions of an ONNX file: none calls itself, and put in place they stay a graph of some size.

Libraries put functions in place of their calls: of forty that each call the next one twice that
makes a million million nodes. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from headrace.engine.checks.protobuf import (
    BYTES,
    Data,
    Part,
    Tables,
    fields,
    parts,
    text,
    whole,
)
from headrace.errors import ModelLoadError

# A language model exported function by function has some ten thousand.
_MOST_NODES = 1_000_000

_Name = tuple[str, str, str]
"""Domain, name and overload."""

_FILE: Tables = {"model": {7: "graph", 25: "function"}}
_PARTS: Tables = {
    "graph": {1: "node"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
# Of a node and of a function: where domain, name and overload stand.
_NODE_NAME, _FUNCTION_NAME = (7, 4, 8), (10, 1, 13)


def check(data: Data) -> None:
    """Check the functions of a file.

    Raises:
        ModelLoadError: one calls itself, or there would be too many nodes.
    """
    calls: dict[_Name, Counter[_Name]] = {}
    top: Counter[_Name] = Counter()
    for part in parts(data, _FILE, whole(data, "model")):
        called = Counter(_called(data, part))
        if part.kind == "function":
            calls[_name(data, part, _FUNCTION_NAME)] = called
        else:
            top.update(called)
    sizes = _sizes(calls)
    if sum(times * sizes.get(name, 1) for name, times in top.items()) > _MOST_NODES:
        raise ModelLoadError(
            f"has functions that become more than {_MOST_NODES} nodes when they are put in place "
            "of their calls"
        )


def _sizes(calls: Mapping[_Name, Mapping[_Name, int]]) -> dict[_Name, int]:
    """How many nodes each function becomes; those that are called before those that call.

    Raises:
        ModelLoadError: functions call each other in a ring.
    """
    callers: dict[_Name, list[_Name]] = {}
    missing: dict[_Name, int] = {}
    for name, called in calls.items():
        known = [one for one in called if one in calls]
        missing[name] = len(known)
        for one in known:
            callers.setdefault(one, []).append(name)
    ready = [name for name, count in missing.items() if not count]
    sizes: dict[_Name, int] = {}
    while ready:
        name = ready.pop()
        size = sum(times * sizes.get(one, 1) for one, times in calls[name].items())
        sizes[name] = min(size, _MOST_NODES + 1)
        for caller in callers.get(name, ()):
            missing[caller] -= 1
            if not missing[caller]:
                ready.append(caller)
    if ring := calls.keys() - sizes.keys():
        names = ", ".join(sorted(name for _, name, _ in ring)[:5])
        raise ModelLoadError(f"has functions that call themselves without end: {names}")
    return sizes


def _called(data: Data, root: Part) -> Iterator[_Name]:
    """The operator or function of every node, also of graphs within nodes."""
    for part in parts(data, _PARTS, root):
        if part.kind == "node":
            yield _name(data, part, _NODE_NAME)


def _name(data: Data, part: Part, numbers: tuple[int, int, int]) -> _Name:
    found = dict.fromkeys(numbers, "")
    for inner in fields(data, part.start, part.end):
        if inner.number in found and inner.kind == BYTES:
            found[inner.number] = text(data, inner)
    domain, name, overload = found.values()
    return ("" if domain == "ai.onnx" else domain), name, overload
