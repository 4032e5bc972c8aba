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
