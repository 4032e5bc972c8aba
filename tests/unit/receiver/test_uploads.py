"""Which bodies are files, and of which input."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.accepts import AcceptedAudio, AcceptedImage, AcceptedText
from headrace.errors import (
    BodyTooLarge,
    HeadraceError,
    InvalidInput,
    MalformedRequest,
    UnsupportedEncoding,
)
from headrace.media import build
from headrace.receiver.catalog import ServedModel
from headrace.receiver.plain import uploads
from headrace.receiver.plain.uploads import Upload
from headrace.values import DType, TensorSpec
from tests.contract.echo import serve

PHOTO = TensorSpec("photo", DType.UINT8, (None, None, None, 3))
SOUND = TensorSpec("sound", DType.FP32, (None, None))
NAME = TensorSpec("name", DType.BYTES, (None,))
NUMBER = TensorSpec("number", DType.FP32, (None,))
ENTRIES: dict[str, Any] = {
    "photo": AcceptedImage(kind="image", input="photo"),
    "sound": AcceptedAudio(kind="audio", input="sound", rate_hz=8000),
    "name": AcceptedText(kind="text", input="name"),
}


def model(*specs: TensorSpec) -> ServedModel:
    served = serve("m", specs, specs, batched=True)
    accepts = [ENTRIES[spec.name] for spec in specs if spec.name in ENTRIES]
    return replace(served, media=build(served.signature, accepts))


def read(served: ServedModel, kind: str, body: object) -> Upload | None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return uploads.read({b"content-type": kind.encode()}, data, served)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def form(**fields: bytes) -> bytes:
    parts = [
        b'--b\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--b--\r\n"


FORM = "multipart/form-data; boundary=b"


# -- one file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (PHOTO, "image/png"),
        (PHOTO, "IMAGE/JPEG"),
        (PHOTO, "application/octet-stream"),
        (SOUND, "audio/x-wav"),
        (SOUND, "application/octet-stream"),
        (NAME, "text/plain; charset=utf-8"),
    ],
)
def test_the_content_type_tells_what_a_body_is(spec: TensorSpec, kind: str) -> None:
    assert read(model(spec), kind, b"data") == Upload({spec.name: [b"data"]})


def test_of_several_inputs_the_content_type_picks_one_but_the_others_are_missing() -> None:
    with pytest.raises(InvalidInput, match="'m' takes number too: send multipart/form-data"):
        read(model(PHOTO, NUMBER), "image/png", b"data")


@pytest.mark.parametrize(
    ("served", "kind", "says"),
    [
        (model(NUMBER), "image/png", "takes JSON and no image/png: its card does not say"),
        (model(NUMBER), FORM, "takes JSON and no multipart/form-data"),
        (model(PHOTO), "audio/wav", r"got a body of audio/wav, .*it accepts photo \(image\)"),
        (model(PHOTO), "multipart/mixed", "got a body of multipart/mixed"),
        (model(PHOTO, SOUND), "application/octet-stream", "which of its inputs that is"),
    ],
)
def test_files_that_a_model_does_not_take(served: ServedModel, kind: str, says: str) -> None:
    with pytest.raises(UnsupportedEncoding, match=says):
        read(served, kind, b"data")


@pytest.mark.parametrize(
    "kind", ["", "application/json", "text/plain", "application/x-www-form-urlencoded"]
)
def test_json_stays_json_whatever_the_content_type_says(kind: str) -> None:
    assert read(model(NUMBER), kind, {"input": [1]}) is None
    assert read(model(PHOTO), kind, {"input": [[[[1, 2, 3]]]]}) is None


# -- forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "how"),
    [
        ((PHOTO,), "-H 'content-type: image/jpeg'), or multipart/form-data (-F photo=@FILE)"),
        ((NAME,), "-H 'content-type: text/plain'), or multipart/form-data (-F name=@FILE)"),
        ((PHOTO, NUMBER), "send multipart/form-data (-F photo=@FILE -F number=JSON)"),
        ((PHOTO, SOUND), "send multipart/form-data (-F photo=@FILE -F sound=@FILE)"),
    ],
)
@pytest.mark.parametrize("body", [b"\xff\xd8\xff\xe0", b"[DATA]", b'"name","age"\n'])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", ""])
def test_a_file_without_its_content_type_is_told_how_to_be_sent(
    specs: tuple[TensorSpec, ...], how: str, kind: str, body: bytes
) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(model(*specs), kind, body)
    told = str(caught.value)
    assert (kind or "no content type") in told
    assert how in told


def test_a_file_of_another_kind_is_told_which_may_be_the_body() -> None:
    with pytest.raises(UnsupportedEncoding) as caught:
        read(model(PHOTO), "audio/wav", b"data")
    assert "it does not take that; it accepts photo (image)" in str(caught.value)
    assert "-H 'content-type: image/jpeg'" in str(caught.value)


def test_fields_are_files_by_name_and_tensors_as_json() -> None:
    found = read(model(PHOTO, NUMBER), FORM, form(photo=b"data", number=b"[1, 2.5]"))
    assert found is not None
    assert found.files == {"photo": [b"data"]}
    assert np.array_equal(found.tensors["number"], np.array([1, 2.5], np.float32))


def test_a_field_given_again_is_another_row() -> None:
    twice = form(photo=b"a")[: -len(b"--b--\r\n")] + form(photo=b"b")
    assert read(model(PHOTO), FORM, twice) == Upload({"photo": [b"a", b"b"]})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(file=b"a"), "unknown input 'file'; the model has photo, number"),
        (form(number=b"nan]"), "JSON Parse error"),
        (form(number=b'1, "more": 2'), "field 'number' must be one JSON value"),
        (form(number=b'["a"]'), "input 'number' is FP32, the JSON has strings"),
        (form(number=b"\xff"), "JSON Parse error"),
        (form(), "has no fields"),
        (form(number=b"1")[: -len(b"--b--\r\n")] + form(number=b"1"), "'number' is given twice"),
        (b"hello", "is broken"),
    ],
)
def test_a_form_that_does_not_fit_says_so(body: bytes, says: str) -> None:
    with pytest.raises(HeadraceError, match=says):
        read(model(PHOTO, NUMBER), FORM, body)


def test_a_form_without_a_boundary_says_so() -> None:
    with pytest.raises(MalformedRequest, match="without a boundary"):
        read(model(PHOTO), "multipart/form-data", form(photo=b"a"))


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"input": b64(b"a")},
        {"inputs": {"photo": b64(b"a")}},
        {"input": {"photo": [b64(b"a")]}},
        {"instances": [b64(b"a")]},
        {"instances": [{"photo": b64(b"a")}]},
    ],
)
def test_a_file_may_be_base64_in_json(body: object) -> None:
    assert read(model(PHOTO), "application/json", body) == Upload({"photo": [b"a"]})


def test_files_in_json_are_rows_and_tensors_stay_tensors() -> None:
    body = {"input": {"photo": [b64(b"a"), b64(b"b")], "number": [1, 2]}}
    found = read(model(PHOTO, NUMBER), "application/json", body)
    assert found is not None
    assert found.files == {"photo": [b"a", b"b"]}
    assert found.tensors["number"].tolist() == [1, 2]
    rows = {"instances": [{"photo": b64(b"a"), "number": 1}, {"photo": b64(b"b"), "number": 2}]}
    again = read(model(PHOTO, NUMBER), "application/json", rows)
    assert again is not None
    assert again.files == found.files


@pytest.mark.parametrize("body", [{"input": "hi"}, {"input": ["hi"]}, {"instances": ["hi"]}])
def test_text_is_text_in_json(body: object) -> None:
    assert read(model(NAME), "application/json", body) == Upload({"name": [b"hi"]})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": {"b64": "%"}}, "input 'photo': broken base64"),
        ({"input": {"b64": 3}}, "broken base64"),
        ({"input": [b64(b"a"), [[1]]]}, "every row must be a file"),
        ({"input": [b64(b"a"), [b64(b"a")]]}, "every row must be a file"),
        ({"input": [b64(b"a")] * 129}, "has 129 files: send at most 128 at once"),
        ({"input": {"photo": b64(b"a"), "x": 1}}, "unknown input 'x'; the model has photo"),
        (b'{"input": {"b64": "a}', "JSON Parse error"),
    ],
)
def test_files_in_json_that_do_not_fit_say_so(body: object, says: str) -> None:
    with pytest.raises(HeadraceError, match=says):
        read(model(PHOTO), "application/json", body)


def test_files_of_all_inputs_count_together() -> None:
    body = {"input": {"photo": [b64(b"a")] * 64, "sound": [b64(b"a")] * 65}}
    with pytest.raises(InvalidInput, match="has 129 files: send at most 128 at once"):
        read(model(PHOTO, SOUND), "application/json", body)


def test_json_without_files_is_not_parsed_here_but_once_in_the_plain_way() -> None:
    assert read(model(PHOTO), "application/json", b"nonsense") is None
    spelled = b'{"input": {"\\u006264": "YQ=="}}'
    assert read(model(PHOTO), "application/json", spelled) == Upload({"photo": [b"a"]})


@pytest.mark.parametrize(
    "body",
    [{}, {"input": 1, "inputs": 1}, {"input": []}, {"instances": []}, {"instances": [{"a": 1}, 3]}],
)
def test_what_is_no_file_is_left_to_the_plain_way(body: object) -> None:
    assert read(model(PHOTO), "application/json", body) is None


MANY = {
    "numbers": b"[" + b"1," * 2**18 + b"1]",
    "lists": b"[" + b"[" * 2**18 + b"]" * 2**18 + b"]",
    "objects": b"[" + b'{"a":1},' * 2**17 + b"1]",
}


@pytest.mark.parametrize("values", MANY.values(), ids=MANY)
def test_json_with_files_and_a_great_many_values_is_not_parsed(values: bytes) -> None:
    body = b'{"input": {"photo": {"b64": ""}, "number": %b' % values  # and no end: it is not read
    with pytest.raises(BodyTooLarge, match=r"at most 262144 other values: send fewer rows"):
        read(model(PHOTO, NUMBER), "application/json", body)
    with pytest.raises(BodyTooLarge, match=r"'number' has more than 262144 values: send fewer"):
        read(model(PHOTO, NUMBER), FORM, form(photo=b"data", number=values[:-1]))


@pytest.mark.parametrize("spec", [PHOTO, NAME])
def test_so_many_values_without_files_are_left_to_the_plain_way(spec: TensorSpec) -> None:
    body = b'{"input": %b, "\\u0062": 1' % MANY["numbers"]
    assert read(model(spec), "application/json", body) is None


def test_files_and_long_texts_are_no_values() -> None:
    body = {"input": {"photo": b64(bytes(2**22)), "number": [1.0] * 1000}}
    found = read(model(PHOTO, NUMBER), "application/json", body)
    assert found is not None
    assert found.tensors["number"].shape == (1000,)
    text = "A cup, and a cat, of which more could be told. " * 20_000
    assert read(model(NAME), "application/json", {"input": [text] * 4}) is not None
    table = '1,[2],"{3}",' * 80_000 + "\\"
    found = read(model(NAME), "application/json", {"input": [table, table]})
    assert found is not None
    assert found.files == {"name": [table.encode()] * 2}
