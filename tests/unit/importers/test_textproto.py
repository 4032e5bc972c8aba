from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from headrace.errors import SettingsError
from headrace.importers.textproto import Message, Word, parse


def shape(message: Message) -> list[object]:
    """Names and values, without places."""
    return [
        (one.name, shape(one.value) if isinstance(one.value, Message) else one.value.text)
        for one in message.fields
    ]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("", []),
        ("# only words\n", []),
        ("a: 1 b: 2", [("a", "1"), ("b", "2")]),
        ("a: 1, b: 2; c: -3", [("a", "1"), ("b", "2"), ("c", "-3")]),
        ("a: - 3", [("a", "-3")]),
        ("a: [1, 2]", [("a", "1"), ("a", "2")]),
        ("a: []", []),
        ("a [ {b: 1}, <b: 2> ]", [("a", [("b", "1")]), ("a", [("b", "2")])]),
        ("a {} b <> c: {}", [("a", []), ("b", []), ("c", [])]),
        ("a: 'x' \"y\"\n'z'", [("a", "xyz")]),
        (r"a: '\x41\102\n\'\u20ac'", [("a", "AB\n'€")]),
        (r"a: '\303\251'", [("a", "é")]),
        ("a: '#'#'", [("a", "#")]),
        ("a: 1.5e-3f b: .5 c: inf", [("a", "1.5e-3f"), ("b", ".5"), ("c", "inf")]),
        ("[a.b/c.d] { e: 1 }", [("[a.b/c.d]", [("e", "1")])]),
    ],
)
def test_it_is_read(text: str, means: list[object]) -> None:
    assert shape(parse(text, "f")) == means


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a", "f:1: expected a colon after a"),
        ("a:", "f:1: expected a value, not the end"),
        ("\na 1", "f:2: expected a colon after a"),
        ("a {\n\n", "f:3: the file ends where a } is missing"),
        ("a { b: 1 >", "expected a field's name, not '>'"),
        ("}", "expected a field's name, not '}'"),
        ("1: 2", "expected a field's name, not '1'"),
        ("a: [1", "expected , or ] in a list"),
        ("a: [1 2]", "expected , or ] in a list"),
        ("a: 'x", 'unexpected "\'"'),
        ("a: \x00", r"unexpected '\x00'"),
        (r"a: '\q'", r"\q is no character"),
        (r"a: '\777'", r"\777 is no character"),
        (r"a: '\UFFFFFFFF'", "is no character"),
        (r"a: '\ud800'", "is no character"),
        (r"a: '\xff'", "the text is not UTF-8"),
        ("a {" * 1000, "nested deeper than 64"),
        ("a: [[1]]", "expected a value, not ["),
        ("[a", "expected ] after the name of an extension"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, "f")
    assert says in caught.value.message
    assert caught.value.message.startswith("f:")


def test_fields_know_their_lines_those_of_a_list_each_its_own() -> None:
    places = [one.place for one in parse("a: 1\n\nb: [\n2,\n3]", "f").fields]
    assert places == ["f:1", "f:4", "f:5"]


@pytest.mark.parametrize(
    ("text", "method", "value"),
    [
        ("a: 010", "whole", 8),
        ("a: -0x10", "whole", -16),
        ("a: 7", "whole", 7),
        ("a: t", "flag", True),
        ("a: False", "flag", False),
        ("a: 1", "flag", True),
        ("a: KIND_CPU", "name_of", "KIND_CPU"),
        ("a: 'x'", "text", "x"),
    ],
)
def test_a_value_is_what_it_should_be(text: str, method: str, value: object) -> None:
    assert getattr(parse(text, "f").fields[0], method)() == value


@pytest.mark.parametrize("method", ["whole", "flag", "text", "name_of", "message"])
@pytest.mark.parametrize("text", ["a: 1.5", "a: 'x'", "a {}", "a: 09", "a: 5e3"])
def test_a_value_of_another_kind_is_named(text: str, method: str) -> None:
    field = parse(text, "f").fields[0]
    right = {"text": text == "a: 'x'", "message": text == "a {}"}
    right["name_of"] = isinstance(field.value, Word) and not field.value.quoted
    if right.get(method):
        getattr(field, method)()
        return
    with pytest.raises(SettingsError, match="f:1: a: should be"):
        getattr(field, method)()


def test_what_may_be_given_once_is_not_given_twice() -> None:
    with pytest.raises(SettingsError, match="f:2: a: given twice, first at f:1"):
        parse("a: 1\na: 2", "f").one("a")


@given(st.text(), st.integers(-(2**31), 2**31 - 1), st.lists(st.text(), max_size=3))
def test_it_reads_what_protobuf_writes(name: str, size: int, files: list[str]) -> None:
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=size)
    config.model_operations.op_library_filename.extend(files)
    read = parse(text_format.MessageToString(config), "f")
    given_name, given_size = read.one("name"), read.one("max_batch_size")
    assert ("" if given_name is None else given_name.text()) == name
    assert (0 if given_size is None else given_size.whole()) == size
    inner = read.one("model_operations")
    assert [one.text() for one in inner.message().fields] == files if inner else not files


@given(st.text(alphabet="a1-: {}[]<>,;'\"\\\n#.", max_size=40))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        parse(text, "f")
    except SettingsError as error:
        assert error.message.startswith("f:")  # noqa: PT017 - either is right
