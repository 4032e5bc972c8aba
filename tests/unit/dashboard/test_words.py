from __future__ import annotations

import pytest

from headrace.dashboard import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.00123, "0.0012"),
        (0.123, "0.12"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345, "12,345"),
    ],
)
def test_numbers_have_the_digits_that_matter(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_units() -> None:
    assert words.milliseconds(0.0123) == "12.3"
    assert words.milliseconds(None) == "-"
    assert words.percent(0.456) == "46 %"
    assert words.size(300 * 2**20) == "300 MiB"
    assert [words.since(seconds) for seconds in (-1, 59, 61, 7300, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "2 d",
    ]
