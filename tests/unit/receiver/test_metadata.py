"""Versions and parameters as both Open Inference Protocol fronts read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.errors import (
    HeadraceError,
    InvalidInput,
    InvalidTimeout,
    MalformedRequest,
    VersionNotFound,
)
from headrace.receiver import metadata
from headrace.values import SequenceCall


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


def test_versions_are_numbers_and_none_is_the_newest() -> None:
    assert metadata.read_version("") is None
    assert metadata.read_version("0") == 0
    assert metadata.read_version("00012") == 12
    assert metadata.read_version("9" * 18) == 10**18 - 1
    for text in ("one", "-1", "1.0", " 1", "²", "\u0661", "9" * 19, "9" * 5000):
        with pytest.raises(VersionNotFound, match="versions are numbers, not '"):
            metadata.read_version(text)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, None),
        (1, 1e-6),
        (2_500_000, 2.5),
        ("2500000", 2.5),
        (2**64 - 1, 2**64 / 1e6),
    ],
)
def test_the_timeout_is_microseconds(value: object, seconds: float | None) -> None:
    parameters = {} if value is None else {"timeout": value}
    assert metadata.parameter_timeout_s(parameters) == (seconds and pytest.approx(seconds))


def test_priority_1_is_the_highest_and_0_is_in_the_middle() -> None:
    read = metadata.parameter_priority
    assert read({}) == read({"priority": 0}) == 0
    assert read({"priority": 1}) < read({"priority": 2}) < 0 < read({"priority": 2**64 - 1})


def test_classification_is_how_many() -> None:
    assert metadata.parameter_classes({}) is None
    assert metadata.parameter_classes({"classification": 3}) == 3


NO_NUMBERS = [-1, 1.5, True, "soon", "", [1], {"a": 1}, deep()]


@pytest.mark.parametrize(
    ("read", "name", "error", "values"),
    [
        (
            metadata.parameter_timeout_s,
            "timeout",
            InvalidTimeout,
            [*NO_NUMBERS, None, 2**64, 10**400, "9" * 5000],
        ),
        (metadata.parameter_priority, "priority", MalformedRequest, [*NO_NUMBERS, None, "1"]),
        (metadata.parameter_classes, "classification", InvalidInput, [*NO_NUMBERS, 0, "1"]),
    ],
)
def test_what_is_no_such_number_is_named_in_short(
    read: Callable[[dict[str, Any]], object],
    name: str,
    error: type[HeadraceError],
    values: list[Any],
) -> None:
    for value in values:
        with pytest.raises(error, match=f"parameter {name} must be") as caught:
            read({name: value})
        assert len(caught.value.message) < 200


@pytest.mark.parametrize("none", [{}, {"sequence_id": 0}, {"sequence_id": ""}])
def test_no_id_is_no_sequence(none: dict[str, Any]) -> None:
    assert metadata.parameter_sequence({"sequence_start": True, **none}) is None


@pytest.mark.parametrize("identity", [7, "7"])
def test_a_number_and_its_digits_are_one_sequence(identity: object) -> None:
    call = metadata.parameter_sequence({"sequence_id": identity, "sequence_end": True})
    assert call == SequenceCall("7", start=False, end=True)


@pytest.mark.parametrize("identity", [False, -1, 2**64, 0.0, [], {}, "x" * 129])
def test_other_ids_are_refused(identity: object) -> None:
    with pytest.raises(MalformedRequest, match="sequence_id must be a whole number"):
        metadata.parameter_sequence({"sequence_id": identity})


@pytest.mark.parametrize("name", ["sequence_start", "sequence_end"])
@pytest.mark.parametrize("flag", [None, 0, 1, "true", []])
def test_flags_are_true_or_false(name: str, flag: object) -> None:
    with pytest.raises(MalformedRequest, match=f"parameter {name} must be true or false"):
        metadata.parameter_sequence({"sequence_id": 1, name: flag})
