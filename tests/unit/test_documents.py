"""YAML that would unfold to more than there is memory for, and text that is none."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace.documents import parse, read
from headrace.errors import SettingsError

_TEN = range(1, 11)
# Each line names the one before ten times over: ten billion values in 600 bytes.
ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in _TEN
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in _TEN
)


def test_aliases_that_unfold_without_end_are_refused_before_they_do() -> None:
    tracemalloc.start()
    with pytest.raises(SettingsError, match="f: has more than 100000 values, its aliases put in"):
        parse(ALIASES, "f")
    assert tracemalloc.get_traced_memory()[1] < 256 * 2**20
    tracemalloc.stop()


def test_maps_that_merge_maps_again_and_again_stay_small() -> None:
    assert parse(MERGES, "f").data["a10"] == {"x": 1}


def test_a_few_aliases_and_merges_are_put_in_place() -> None:
    text = "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: [*a, *b], z: [*a, *a]}\n"
    assert parse(text, "f").data == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 2, "z": [{"x": 1}, {"x": 1}]},
    }


def test_what_a_merge_overrides_is_not_given_twice_where_an_alias_names_it_again() -> None:
    text = "a: &a {port: 1}\nb: &b {<<: *a, port: 2}\nc: *b\nd: {<<: &d {<<: *a, port: 3}}\ne: *d\n"
    assert [parse(text, "f").data[key] for key in "bce"] == [{"port": 2}, {"port": 2}, {"port": 3}]
    with pytest.raises(SettingsError, match=r"^f:1: a\.port: given twice, first at f:1$"):
        parse("a: {<<: {port: 1, port: 2}}", "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("-3", -3),
        ("0x1F", 31),
        ("1.", 1.0),
        ("-1.5e+3", -1500.0),
        (".inf", float("inf")),
        *((word, word) for word in ("yes", "no", "on", "off", "2024-01-01", "=")),
        *((digits, digits) for digits in ("010", "1:30", "1:30.5", "1_000", "0b1", "1e5", "08")),
    ],
)
def test_a_number_is_what_every_version_of_yaml_takes_for_the_same_one(
    text: str, value: object
) -> None:
    found = parse(f"a: {text}", "f").data["a"]
    assert (type(found), found) == (type(value), value)


@given(
    st.text("0123456789+-.eExob_:~nultrefasyo<=", max_size=8)
    | st.floats(allow_nan=False)
    | st.integers()
    | st.booleans()
    | st.none()
)
def test_what_is_written_is_read_as_it_was(value: object) -> None:
    found = parse(yaml.safe_dump({"a": value}), "f").data["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("key", ["null", "true", "1.5", "~"])
def test_a_key_that_is_no_text_is_named(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(f"a:\n  {key}: 1\n", "f")
    assert caught.value.message == f"f:2: a.{key}: a key should be text: put it in quotes"
    assert parse("a: {1: 2}", "f").data == {"a": {1: 2}}


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(SettingsError, match="f:2: is not valid YAML: half of a surrogate pair"):
        parse('a: 1\nb: "\\ud800"\n', "f")
    with pytest.raises(SettingsError, match="f:1: is not valid YAML: half of a surrogate pair"):
        parse('"\\udfff": 1\n', "f")
    assert parse('a: "\\U0001F600"', "f").data == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    "value",
    [
        "!!bool maybe",
        "!!int ''",
        "!!float ''",
        "!!timestamp maybe",
        *(f"!!{kind} x" for kind in ("seq", "map", "set", "omap", "pairs")),
    ],
)
def test_what_is_not_what_its_tag_says_is_refused_with_its_line(value: str) -> None:
    with pytest.raises(SettingsError, match="f:2: is not valid YAML: "):
        parse(f"a: 1\nb: {value}\n", "f")
    with pytest.raises(SettingsError, match="f:2: is not valid YAML: "):
        parse(f"a: 1\n? {value}\n: b\n", "f")


@pytest.mark.parametrize("escape", ["\\UFFFFFFFF", "\\U00110000"])
def test_an_escape_of_no_letter_is_refused_with_its_line(escape: str) -> None:
    with pytest.raises(SettingsError, match="f:2: is not valid YAML: "):
        parse(f'a: 1\nb: "{escape}"\n', "f")


def test_a_file_larger_than_settings_are_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "card.yaml"
    with file.open("wb") as out:
        out.truncate(2**40)
    with pytest.raises(SettingsError, match="is larger than 4194304 bytes; no settings are"):
        read(file)


@given(st.text(max_size=60))
def test_any_text_is_settings_or_an_error_that_is_text(text: str) -> None:
    try:
        found, said = parse(text, "f").data, ""
    except SettingsError as error:
        found, said = {}, error.message
    assert isinstance(found, dict)
    assert not said or said.encode().startswith(b"f:")
