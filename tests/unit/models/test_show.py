"""The table of models, on terminals of several widths."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from headrace.models.rows import Row
from headrace.models.show import drawn

NAMES = ("efficientnet-lite0", "minilm")


def _printed(width: int, *names: str, labels: str = "") -> list[str]:
    rows = [
        Row(
            one,
            "12",
            "recovering",
            labels,
            "openvino f32",
            "300 MiB",
            "3.75 s",
            "",
            "2 h 5 min",
            "",
        )
        for one in names
    ]
    text = StringIO()
    Console(file=text, width=width).print(drawn(rows, width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, "model version state memory loaded in since"),
        (61, "model version state memory loaded in"),
        (50, "model version state memory"),
        (40, "model version state"),
    ],
)
def test_in_a_narrow_terminal_columns_are_left_out_and_names_are_whole(
    width: int, columns: str
) -> None:
    head, _, *rows = [line for line in _printed(width, *NAMES) if line]
    assert head.split() == columns.split()
    assert [row.split()[:3] for row in rows] == [[name, "12", "recovering"] for name in NAMES]


def test_names_that_are_too_long_are_folded_and_nothing_is_lost() -> None:
    lines = _printed(60, "Z" * 60, labels="canary, stable, latest")
    assert all(len(line) <= 60 for line in lines)
    assert sum(line.count("Z") for line in lines) == 60
    assert all(any(label in line for line in lines) for label in ("canary", "stable", "latest"))
