"""Names out of the bytes of a TFLite file, against files of FlatBuffers' own builder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.formats.tflite import Names, label_file, names
from tests.unit.formats import lite

X, Y = {"x": 0}, {"y": 1, "same": 1}
FILE = lite.model(["in:0", "out:0"], {"serving_default": (X, Y)})
LABELS = lite.metadata({"words.txt": (5, ""), "labels.txt": (2, ""), "labels-fr.txt": (2, "fr")})
LABELLED = lite.model(["in:0"], {}, LABELS)


def test_tensors_are_called_as_in_the_signature() -> None:
    found = names(memoryview(FILE))
    assert found == ({"in:0": {"x"}}, {"out:0": {"y", "same"}})


def test_of_several_signatures_the_default_one_names_them() -> None:
    two = {"other": ({"z": 0}, {"w": 1}), "serving_default": (X, Y)}
    assert names(memoryview(lite.model(["a", "b"], two))) == ({"a": {"x"}}, {"b": {"y", "same"}})
    del two["serving_default"]
    two["more"] = (X, Y)
    assert names(memoryview(lite.model(["a", "b"], two))) is None


def test_without_a_signature_there_are_no_names() -> None:
    assert names(memoryview(lite.model(["a"], {}))) is None


def test_a_tensor_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="a tensor that it does not have"):
        names(memoryview(lite.model(["a"], {"s": ({"x": 7}, {})})))


def test_the_file_of_class_names_is_the_one_without_a_language() -> None:
    assert label_file(memoryview(LABELLED)) == "labels.txt"


@pytest.mark.parametrize(
    "files", [{}, {"a.txt": (2, ""), "b.txt": (2, "")}, {"a.txt": (3, "")}, {"a.txt": (2, "fr")}]
)
def test_no_single_file_of_class_names_is_none(files: dict[str, tuple[int, str]]) -> None:
    assert label_file(memoryview(lite.model(["a"], {}, lite.metadata(files)))) is None
    assert label_file(memoryview(FILE)) is None


def test_a_name_without_end_is_told() -> None:
    with pytest.raises(ValueError, match="too long to be a name"):
        names(memoryview(lite.model(["a" * 5000], {"s": (X, {})})))


def test_places_that_are_led_to_again_and_again_are_told() -> None:
    many = lite.metadata({"labels.txt": (2, "")}, outputs=1000, files=1000)
    assert len(many) < 10_000
    with pytest.raises(ValueError, match="it leads to the same place again and again"):
        label_file(memoryview(lite.model(["a"], {}, many)))
    long = lite.metadata({"labels" * 600: (2, "")}, outputs=1, files=1000)
    with pytest.raises(ValueError, match="it leads to the same place again and again"):
        label_file(memoryview(lite.model(["a"], {}, long)))


@given(st.integers(0, len(LABELLED) - 1), st.integers(0, 255), st.integers(0, len(LABELLED)))
def test_whatever_is_broken_is_a_value_error_or_something_else(
    place: int, byte: int, end: int
) -> None:
    for whole in (FILE, LABELLED):
        broken = bytearray(whole[:end])
        if place < len(broken):
            broken[place] = byte
        for read, kind in ((names, Names), (label_file, str)):
            assert isinstance(_read(read, bytes(broken)), kind | None)


def _read(read: Callable[[memoryview], object], data: bytes) -> object:
    """What it finds; None where it says that there is nothing to find."""
    try:
        return read(memoryview(data))
    except ValueError:
        return None


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 40, b"\x08\0\0\0TFL4" + bytes(40)])
def test_other_files_are_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin as TFL3 files do"):
        names(memoryview(data))
