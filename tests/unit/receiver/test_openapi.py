"""The document names every path that is answered, and says of a model what it takes."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema_rs import validator_for

from headrace.accepts import AcceptedImage, AcceptedText
from headrace.control import ModelState
from headrace.errors import HeadraceError
from headrace.media import build
from headrace.receiver.catalog import Catalog, Entry, ServedModel
from headrace.receiver.exchange import Exchange
from headrace.receiver.openapi.document import document
from headrace.receiver.openapi.lives import MOVED_LABELS
from headrace.receiver.openapi.page import DocsPage, read_page
from headrace.receiver.plain.models import described, read_labels
from headrace.settings import ModelSettings, ResultStep
from headrace.values import DType, TensorSpec
from tests.contract.calls import plain, post
from tests.contract.echo import PAIR, Echo, serve

PHOTO = TensorSpec("photo", DType.UINT8, (None, 2, 2, 3))
TABLE = serve(
    "table",
    [TensorSpec("x", DType.INT8, (None, 2))],
    [TensorSpec("y", DType.FP32, (None, 1))],
    batched=True,
)


def photos() -> ServedModel:
    served = serve("photos", [PHOTO], [TensorSpec("y", DType.BYTES, (None, 5))], batched=True)
    accepts = (AcceptedImage(kind="image", input="photo"),)
    return replace(served, media=build(served.signature, accepts))


def write(*models: ServedModel, default: ServedModel | None = None) -> dict[str, Any]:
    written = document(Echo().routes.listing(), models, default)
    found: dict[str, Any] = json.loads(json.dumps(written))
    return found


def _schema(written: dict[str, Any], path: str, *way: str) -> Any:
    schema = written["paths"][path]["post"]
    for key in way:
        schema = schema[key]
    return validator_for(schema)


def request(served: ServedModel, path: str) -> Any:
    return _schema(write(served), path, "requestBody", "content", "application/json", "schema")


def answered(path: str) -> tuple[Any, Any]:
    """What is answered at a path, and its schema in the document."""
    echo = Echo()
    body = json.loads(echo.ask(plain("GET", path)).body)
    written = json.loads(json.dumps(document(echo.routes.listing(), [PAIR], None)))
    answer = written["paths"][path]["get"]["responses"]["200"]
    return body, answer["content"]["application/json"]["schema"]


def test_the_lives_of_models_have_every_key_that_the_document_names() -> None:
    body, schema = answered("/models")
    validator_for(schema).validate(body)
    keys = schema["properties"]["models"]["items"]["properties"].keys()
    assert body["models"]
    for one in body["models"]:
        assert one.keys() == keys
    told = Entry(ModelState(name="m", version=1, state="failed", reason="why"), None, (), None)
    validator_for(schema).validate({"models": [described(told)]})


def test_what_was_measured_has_every_key_that_the_document_names() -> None:
    body, schema = answered(f"/models/{PAIR.name}/profile")
    validator_for(schema).validate(body)
    assert body.keys() == schema["properties"].keys()


ANYTHING = st.none() | st.booleans() | st.integers(-2, 3) | st.just(2**63) | st.just("1")


@given(st.dictionaries(st.text(max_size=2) | st.just("x" * 201), ANYTHING, max_size=3))
@example({str(number): 1 for number in range(101)})
def test_labels_are_taken_exactly_where_the_document_allows_them(said: dict[str, Any]) -> None:
    try:
        read_labels(json.dumps(said).encode())
        taken = True
    except HeadraceError:
        taken = False
    assert validator_for(MOVED_LABELS).is_valid(said) == taken


def test_the_signature_has_the_name_of_the_card() -> None:
    named = replace(TABLE, settings=ModelSettings(signature_name="predict_images"))
    for served, name in ((TABLE, "serving_default"), (named, "predict_images")):
        allowed = request(served, "/v1/models/table:predict")
        assert allowed.is_valid({"signature_name": name, "instances": [[1, 2]]})
        assert not allowed.is_valid({"signature_name": "other", "instances": [[1, 2]]})


def test_every_path_of_the_document_is_answered() -> None:
    routes = Echo().routes
    for path, operations in write(PAIR)["paths"].items():
        for method in operations:
            assert callable(routes.find(method.upper(), path.replace("{label}", "stable")))


def test_every_path_that_is_answered_is_in_the_document() -> None:
    routes = Echo().routes
    paths = write(PAIR)["paths"]
    assert {path for _, path in routes._exact} <= paths.keys()
    for pattern in routes._patterns:
        assert any(pattern.path.fullmatch(path) for path in paths), pattern.path
    assert not [path for path in paths if re.search(r"[(\[\\?]", path)]


def test_a_model_has_paths_with_each_version_and_without_for_the_newest() -> None:
    second = replace(TABLE, version=2, signature=PAIR.signature, profile=PAIR.profile)
    paths = write(second, TABLE)["paths"]
    assert {"/predict/table", "/predict/table/versions/1", "/predict/table/versions/2"} <= set(
        paths
    )
    bodies = [
        json.dumps(paths[path]["post"]["requestBody"])
        for path in ("/predict/table", "/predict/table/versions/1", "/predict/table/versions/2")
    ]
    assert bodies[0] == bodies[2] != bodies[1]


def test_without_models_the_server_s_own_paths_are_left() -> None:
    written = write()
    assert "/readyz" in written["paths"]
    assert not [path for path in written["paths"] if "{model}" in path]
    assert "200" not in written["paths"]["/predict"]["post"]["responses"]
    assert "requestBody" in write(TABLE, default=TABLE)["paths"]["/predict"]["post"]


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"input": [[1, 2]]}, True),
        ({"inputs": {"x": [[1, 2], [3, 4]]}}, True),
        ({"instances": [[1, 2]]}, True),
        ({"instances": [{"x": [1, 2]}]}, True),
        ({"input": [[1, 2, 3]]}, False),
        ({"input": [[1, 200]]}, False),
        ({"input": [[1, 0.5]]}, False),
        ({"input": []}, False),
        ({"x": [[1, 2]]}, False),
        ({}, False),
    ],
)
def test_the_schema_takes_what_the_model_takes(body: Any, *, fits: bool) -> None:
    assert request(TABLE, "/predict/table").is_valid(body) is fits


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"input": {"b64": "aGk="}}, True),
        ({"input": [{"b64": "aGk="}, {"b64": "aGk="}]}, True),
        ({"instances": [{"photo": {"b64": "aGk="}}]}, True),
        ({"input": [[[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]]]}, True),
        ({"input": "aGk="}, False),
    ],
)
def test_files_may_be_base64(body: Any, *, fits: bool) -> None:
    assert request(photos(), "/predict/photos").is_valid(body) is fits


def test_a_model_of_files_says_which() -> None:
    content = write(photos())["paths"]["/predict/photos"]["post"]["requestBody"]["content"]
    assert list(content) == ["application/json", "image/*", "multipart/form-data"]
    assert content["multipart/form-data"]["schema"]["required"] == ["photo"]


@pytest.mark.parametrize("path", ["/predict/pair", "/v1/models/pair:predict"])
def test_what_the_schema_takes_the_server_takes_and_answers_as_it_says(path: str) -> None:
    rows = [{"left": [1, 2], "right": 3, "text": "a"}, {"left": [0, 0.5], "right": 4, "text": "b"}]
    body = {"instances": rows}
    written = write(PAIR)
    assert request(PAIR, path).is_valid(body)
    answer = Echo().ask(post(path, body))
    way = ("responses", "200", "content", "application/json", "schema")
    assert _schema(written, path, *way).is_valid(json.loads(answer.body))


def test_the_open_inference_protocol_s_request_and_answer() -> None:
    path = "/v2/models/pair/infer"
    body = {
        "inputs": [
            {"name": "left", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
            {"name": "right", "datatype": "INT64", "shape": [1], "data": [1]},
            {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]},
        ]
    }
    assert request(PAIR, path).is_valid(body)
    assert not request(PAIR, path).is_valid({"inputs": body["inputs"][:2]})
    answer = json.loads(Echo().ask(post(path, body)).body)
    way = ("responses", "200", "content", "application/json", "schema")
    assert _schema(write(PAIR), path, *way).is_valid(answer)


def test_examples_are_what_the_model_takes() -> None:
    for served in (TABLE, PAIR):
        path = f"/predict/{served.name}"
        written = write(served)
        given = written["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert validator_for(given["schema"]).is_valid(given["example"])
        assert written["x-headrace-models"][0]["example"] == given["example"]
    assert Echo().ask(post("/predict/pair", given["example"])).status == 200


def test_outputs_whose_text_is_of_classes_are_named() -> None:
    steps = (ResultStep(output="y", apply="softmax"), ResultStep(output="y", apply="top_k"))
    (said,) = write(replace(TABLE, settings=ModelSettings(results=steps)))["x-headrace-models"]
    assert said["classes"] == ["y"]
    assert write(TABLE)["x-headrace-models"][0]["classes"] == []


def test_examples_have_the_sizes_of_the_card_and_are_short_or_none() -> None:
    wide = serve("w", [TensorSpec("x", DType.FP32, (None, None))], [], batched=True)
    bucketed = replace(wide, settings=ModelSettings(buckets={"x": {1: (16, 32)}}))
    assert write(bucketed)["x-headrace-models"][0]["example"] == {"input": [[0] * 16]}
    huge = serve("h", [TensorSpec("x", DType.FP32, (None, 1000))], [], batched=True)
    assert write(huge)["x-headrace-models"][0]["example"] is None
    text = serve("t", [TensorSpec("x", DType.BYTES, (None,))], [], batched=True)
    accepts = (AcceptedText(kind="text", input="x"),)
    spoken = replace(text, media=build(text.signature, accepts))
    assert write(spoken)["x-headrace-models"][0]["example"] == {"input": "Some text."}


def test_what_is_written_beside_a_file_has_no_file_in_it() -> None:
    inputs = [
        TensorSpec("photo", DType.UINT8, (None, 64, 64, 3)),
        TensorSpec("scale", DType.FP32, (None, 1)),
    ]
    both = serve("b", inputs, [], batched=True)
    accepts = (AcceptedImage(kind="image", input="photo"),)
    (said,) = write(replace(both, media=build(both.signature, accepts)))["x-headrace-models"]
    assert said["example"] == {"input": {"scale": [[0]]}}
    assert said["files"] == [{"name": "photo", "kind": "image", "feeds": ["photo"]}]
    only = serve("o", inputs[:1], [], batched=True)
    (said,) = write(replace(only, media=build(only.signature, accepts)))["x-headrace-models"]
    assert said["example"] is None


async def test_the_document_is_written_again_when_the_models_change() -> None:
    catalog = Catalog(configured=True)
    docs = DocsPage(catalog, Echo().routes.listing())
    exchange = Exchange({}, None, 0.0)  # type: ignore[arg-type] # it asks for nothing

    async def written() -> bytes:
        return (await docs.openapi(exchange)).body

    first = await written()
    assert await written() is first
    catalog.set_state(ModelState(name="table", version=1, state="serving"))
    catalog.add(TABLE)
    second = await written()
    assert b"/predict/table" in second
    catalog.add(replace(TABLE))
    assert await written() is not second
    catalog.set_state(ModelState(name="other", version=1, state="loading"))
    assert await written() != second, "of two models, none is the default"
    catalog.remove("table", 1)
    assert await written() == first


async def test_the_document_is_written_once_for_all_who_ask_together() -> None:
    catalog = Catalog(configured=True)
    catalog.add(TABLE)
    docs = DocsPage(catalog, Echo().routes.listing())
    exchange = Exchange({}, None, 0.0)  # type: ignore[arg-type] # as above
    one, other = await asyncio.gather(docs.openapi(exchange), docs.openapi(exchange))
    assert one.body is other.body


def test_the_page_allows_its_own_script_and_style_and_brings_nothing_else() -> None:
    status, page, headers = read_page()
    policy = dict(headers)[b"content-security-policy"].decode()
    assert status == 200
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    text = page.decode()
    assert not re.findall(r"(?:src|href)=\"(?!openapi\.json)", text)
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
    assert not re.search(
        r"\sstyle=|\son\w+=", re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL)
    )


def test_the_front_page_names_both() -> None:
    front = json.loads(Echo().ask(plain("GET", "/")).body)
    assert (front["docs"], front["openapi"]) == ("/docs", "/openapi.json")
    assert Echo().ask(plain("GET", "/docs")).headers["content-type"] == "text/html; charset=utf-8"
