"""JSON that is well-formed and makes no sense, in some place or in all.

Most bodies are good ones for their model with something wrong in them, so that they get as far as
one may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import MalformedRequest
from headrace.values import Array, DType
from tests.contract import codecs
from tests.contract.calls import Call, post
from tests.contract.echo import Echo
from tests.contract.fuzz import (
    ECHO,
    FUZZ,
    answered_or_refused,
    arrays_of,
    classifiers,
    models,
    nonsense,
    regressors,
    seldom,
)

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2, 3, 2**31, 2**53, 2**63, 2**64, -1, 10**400]),
    st.floats(),
)
texts = st.one_of(st.text(max_size=5), st.sampled_from(["x", "y", "FP32", "INT64", "BYTES"]))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.just({"b64": "YQ=="})),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
flat = st.one_of(st.lists(numbers, max_size=5), anything)


Body = Callable[[st.DrawFn, dict[str, Array]], dict[str, Any]]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object in a JSON value, with each of its keys."""
    keys = (
        value.keys()
        if isinstance(value, dict)
        else range(len(value) if isinstance(value, list) else 0)
    )
    for key in keys:
        yield value, key
        yield from places(value[key])


def spoil(draw: st.DrawFn, body: dict[str, Any]) -> None:
    """Put something else into a place, or two, or none; take it out, or wrap it."""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        found = list(places(body))
        if not found:
            return
        inside, key = found[draw(st.integers(0, len(found) - 1))]
        match draw(st.sampled_from(["other", "number", "drop", "wrap", "twice", "more"])):
            case "other":
                inside[key] = draw(anything)
            case "number":
                inside[key] = draw(numbers)
            case "drop":
                del inside[key]
            case "wrap":
                inside[key] = [inside[key]]
            case "twice" if isinstance(inside, list):
                inside.insert(key, inside[key])
            case "more" if isinstance(inside, dict):
                inside[draw(texts)] = draw(anything)


@st.composite
def spoilt(
    draw: st.DrawFn,
    path: Callable[[str], str],
    make: Body,
    suited: st.SearchStrategy[str],
) -> Call:
    """A good body for a model, spoilt."""
    model = draw(suited)
    body = make(draw, arrays_of(draw, ECHO.signatures[model]))
    spoil(draw, body)
    return post(path(model), body)


def oip_body(draw: st.DrawFn, arrays: dict[str, Array]) -> dict[str, Any]:
    plain = {n: a.astype(np.float32) if a.dtype.kind in "fV" else a for n, a in arrays.items()}
    body = codecs.oip_body(plain, nested=draw(st.booleans()))
    for row, array in zip(body["inputs"], arrays.values(), strict=True):
        row["datatype"] = DType.of(array.dtype).value
    if draw(st.booleans()):
        body["id"] = draw(texts)
        body["parameters"] = {"priority": draw(st.integers(0, 3)), "timeout": draw(numbers)}
    if draw(st.booleans()):
        parameters: dict[str, Any] = {"binary_data": draw(st.booleans())}
        names = [draw(st.sampled_from(["y", "y_bytes", "l", "r", "t"]))]
        body["outputs"] = [{"name": name, "parameters": parameters} for name in names]
        if seldom(draw, 3):
            parameters["classification"] = draw(st.integers(0, 3))
    return body


def column_body(draw: st.DrawFn, arrays: dict[str, Array]) -> dict[str, Any]:
    columns = {name: codecs.lists(array) for name, array in arrays.items()}
    only = next(iter(columns.values())) if len(columns) == 1 else columns
    key = draw(st.sampled_from(["instances", "inputs", "input"]))
    if key == "instances":
        pairs = zip(*columns.values(), strict=True) if isinstance(only, list | dict) else ()
        rows = [dict(zip(columns, row, strict=True)) for row in pairs]
        return {key: only if len(columns) == 1 and draw(st.booleans()) else rows}
    return {key: only if draw(st.booleans()) else columns}


def example_body(draw: st.DrawFn, arrays: dict[str, Array]) -> dict[str, Any]:
    rows = [len(array) for array in arrays.values() if array.ndim]
    body: dict[str, Any] = {"examples": [{} for _ in range(min(rows, default=1))]}
    if draw(st.booleans()):
        body["context"] = {}
    for name, array in arrays.items():
        cells: list[Any] = (
            [codecs.lists(array[row : row + 1].ravel()) for row in range(len(array))]
            if array.ndim
            else []
        )
        if cells and "context" in body and draw(st.booleans()):
            body["context"][name] = cells[0]
        for example, cell in zip(body["examples"], cells, strict=False):
            if name not in body.get("context", {}) or draw(st.booleans()):
                example[name] = cell
    if draw(st.booleans()):
        body["signature_name"] = "serving_default"
    return body


def generate_body(draw: st.DrawFn, arrays: dict[str, Array]) -> dict[str, Any]:
    fields = {n: codecs.lists(a.ravel()[:1])[0] if a.size else [] for n, a in arrays.items()}
    body: dict[str, Any] = {"parameters": fields} if draw(st.booleans()) else fields
    if draw(st.booleans()):
        body["id"] = draw(texts)
    if seldom(draw, 3):
        body[draw(st.sampled_from(["timeout", "priority"]))] = draw(numbers)
    return body


JSON_FRONTS: dict[str, tuple[str, Body]] = {
    "oip-rest": ("/v2/models/{}/infer", oip_body),
    "generate": ("/v2/models/{}/generate", generate_body),
    "tfserving-rest": ("/v1/models/{}:predict", column_body),
    "classify": ("/v1/models/{}:classify", example_body),
    "regress": ("/v1/models/{}:regress", example_body),
    "predict": ("/predict/{}", column_body),
}


@pytest.mark.parametrize("front", JSON_FRONTS)
def test_nonsense_in_json_is_the_clients_error(front: str) -> None:
    path, make = JSON_FRONTS[front]
    suited = {"classify": classifiers, "regress": regressors}.get(front, models)
    nonsense(spoilt(path.format, make, suited))


@FUZZ
@given(
    st.sampled_from([path for path, _ in JSON_FRONTS.values()]),
    models,
    st.dictionaries(
        st.sampled_from(
            ["inputs", "instances", "input", "examples", "context", "outputs", "id", "x"]
        ),
        flat,
        max_size=4,
    ),
)
def test_nothing_but_nonsense_in_json_is_the_clients_error(
    path: str, model: str, body: Any
) -> None:
    answered_or_refused(post(path.format(model), body))


@pytest.mark.parametrize("front", JSON_FRONTS)
def test_half_a_character_is_the_clients_error(front: str) -> None:
    path, _ = JSON_FRONTS[front]
    with pytest.raises(MalformedRequest):
        ECHO.ask(post(path.format("BYTES-1"), {"instances": ["\ud800"]}))


switches = st.dictionaries(
    st.sampled_from(["log_info", "log_format", "trace_rate", "trace_count", "offset", "a"]),
    anything,
)


@FUZZ
@given(st.sampled_from(["logging", "trace/setting"]), switches)
def test_nonsense_for_the_switches_is_the_clients_error(path: str, body: Any) -> None:
    try:
        answered_or_refused(post(f"/v2/{path}", body))
    finally:
        structlog.reset_defaults()  # log settings are this process's own


def test_good_requests_are_answered_after_all_of_that() -> None:
    """What fronts remember of requests must not have been spoilt by bad ones."""
    for codec in codecs.CODECS:
        call = codec.encode("FP32-2", {"x": np.ones((2, 2), np.float32)})
        assert ECHO.ask(call).body == Echo().ask(call).body, codec.name
