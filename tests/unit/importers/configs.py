"""Whatever configuration protobuf can hold, as a strategy."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

_WORDS = st.sampled_from(
    ["x", "y", "labels.txt", "a b", "../up", "\n", "", "ensemble", "pytorch", "€'\""]
)
_WHOLE = {"int32": 31, "int64": 63, "uint32": 32, "uint64": 64}
_TYPES = {5: "int32", 3: "int64", 13: "uint32", 4: "uint64"}


def configs(depth: int = 4) -> st.SearchStrategy[Any]:
    """Messages of ``ModelConfig`` with any fields set."""
    kind = model_config_pb2.ModelConfig
    return _fields(kind.DESCRIPTOR, depth).map(lambda made: json_format.ParseDict(made, kind()))


def _fields(kind: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    chosen = {}
    taken: set[str] = set()
    for field in kind.fields:
        if field.containing_oneof is not None:  # one of them, or the JSON is refused
            if field.containing_oneof.name in taken:
                continue
            taken.add(field.containing_oneof.name)
            options = st.sampled_from(list(field.containing_oneof.fields))
            name = f"oneof {field.containing_oneof.name}"
            chosen[name] = options.flatmap(lambda one: _one(one, depth))
        else:
            chosen[field.name] = _one(field, depth)
    drawn = st.fixed_dictionaries({}, optional=chosen)
    return drawn.map(lambda made: {k: v for pair in made.values() for k, v in pair.items()})


def _one(field: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    entry = field.message_type is not None and field.message_type.GetOptions().map_entry
    if field.message_type is not None and depth == 0:
        return st.just({})
    made: st.SearchStrategy[Any]
    if entry:
        keys, values = field.message_type.fields
        made = st.dictionaries(_value(keys, 0), _value(values, depth - 1), max_size=2)
    elif field.is_repeated:
        made = st.lists(_value(field, depth - 1), max_size=2)
    else:
        made = _value(field, depth - 1)
    return made.map(lambda value: {field.name: value})


def _value(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return st.deferred(lambda: _fields(field.message_type, depth))
    if field.enum_type is not None:
        return st.sampled_from([value.name for value in field.enum_type.values])
    if field.type in _TYPES:
        name = _TYPES[field.type]
        low = 0 if name.startswith("u") else -(2 ** _WHOLE[name])
        return st.integers(0, 5) | st.integers(low, 2 ** _WHOLE[name] - 1)
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    if field.type == field.TYPE_STRING:
        return _WORDS
    return st.floats(0, 1)
