"""Names of classes out of the bytes of an ONNX file."""

from __future__ import annotations

import json
from io import BytesIO

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.formats.onnx_ import labels, rankless, weights_files
from tests.external import external


def read(names: str, key: str = "names") -> tuple[str, ...]:
    model = onnx.ModelProto(ir_version=9)
    for name, value in (("task", "classify"), (key, names)):
        model.metadata_props.add(key=name, value=value)
    return labels(memoryview(model.SerializeToString()))


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=6))
def test_a_dict_by_class_names_them(names: list[str]) -> None:
    assert read(repr(dict(enumerate(names)))) == tuple(names)


def test_other_quotes_and_keys_in_quotes_name_them_too() -> None:
    assert read("""{"0": "it's", '1' : 'a "b"',}""") == ("it's", 'a "b"')
    assert read(r"""{"0": "a\/b", 1: "\x41", 2: ""}""") == ("a/b", "A", "")


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=6))
def test_so_does_json(names: list[str]) -> None:
    assert read(json.dumps(dict(enumerate(names)))) == tuple(names)
    assert read(json.dumps(dict(enumerate(names)), ensure_ascii=False)) == tuple(names)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "cat, dog",
        "['cat', 'dog']",
        "{1: 'cat', 2: 'dog'}",
        "{0: 'cat', 2: 'dog'}",
        "{1: 'dog', 0: 'cat'}",
        "{0: cat}",
        "{0: 'cat', 1: f('dog')}",
        "{0: 'cat' 1: 'dog'}",
        r"{0: '\x', 1: 'dog'}",
        r"{0: '\ud83d', 1: 'dog'}",
        "{0: 'cat', " + "{" * 5000,
        "{" + "(" * 5000 + "}",
    ],
)
def test_what_does_not_name_every_class_names_none(text: str) -> None:
    assert read(text) == ()


def test_other_metadata_and_other_files_name_none() -> None:
    assert read("{0: 'cat'}", key="classes") == ()
    with pytest.raises(ValueError, match=r"wire type|cut off"):
        labels(memoryview(b"\x0b\x0c"))


def test_inputs_without_a_shape_are_told_from_single_numbers() -> None:
    shapes: dict[str, list[str | int | None] | None] = {
        "any": None,
        "one": [],
        "two": ["N", 4],
        "other": None,
    }
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    inputs.append(onnx.ValueInfoProto(name="of no type"))
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", inputs, inputs))
    assert rankless(memoryview(model.SerializeToString())) == {"any", "other"}


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/."), min_size=1, max_size=300)


@given(st.lists(NAMES, max_size=5))
def test_files_with_weights_are_found_wherever_their_tensors_are(names: list[str]) -> None:
    assert weights_files(BytesIO(external(*names))) == frozenset(names)


@pytest.mark.parametrize("before_bytes", [0, 1, 5, 10, 100, 2**12, 2**12 + 10, 2**12 + 20])
def test_files_with_weights_are_found_across_the_blocks_that_are_read(before_bytes: int) -> None:
    """Wherever the first block ends: before it, in it, after it; and when nothing follows."""
    names = frozenset({"first", "w" * 4000})
    data = external(*sorted(names))
    for at in (2**22, 2**23):
        assert weights_files(BytesIO(bytes(at - before_bytes) + data)) == names
        assert weights_files(BytesIO(bytes(at - len(data)) + data)) == names


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../w", "a/../../w", "a\0b", "x" * 5000])
def test_a_file_that_lies_elsewhere_cannot_be_told(name: str) -> None:
    assert weights_files(BytesIO(external("w", name))) is None


@pytest.mark.parametrize("after", [b"", b"\x1a\x01w", b"\x12\x05w", b"\x12\x01\xff", b"\x12\xff"])
def test_a_name_in_another_form_cannot_be_told(after: bytes) -> None:
    assert weights_files(BytesIO(b"\x0a\x08location" + after)) is None
