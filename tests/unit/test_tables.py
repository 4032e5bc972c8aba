"""Tables of the commands, on terminals of several widths."""

from __future__ import annotations

import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from headrace import tables
from headrace.errors import HeadraceError
from headrace.models.ask import ServerModels
from headrace.models.show import show, tell
from headrace.models.slow import show_slowest
from headrace.screen import show_checked

PHASES = ("receive", "decode", "queue", "assemble", "lane", "infer", "results", "encode")


def printed(width: int) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, width=width), text


def request(model: str, name: str, **phases_s: float) -> dict[str, object]:
    spent = dict.fromkeys(PHASES, 0.0) | phases_s
    return {
        "model": model,
        "version": 1,
        "id": name,
        "outcome": "predicted_miss",
        "ended_unix_s": time.time(),
        "total_s": sum(spent.values()),
        "phases_s": spent,
        "batch_rows": 8,
    }


class Telling(ServerModels):
    """A server that tells of this version."""

    def __init__(self, said: dict[str, object]) -> None:
        super().__init__("http://127.0.0.1:1")
        self.said = said

    def index(self) -> list[dict[str, Any]]:
        return [self.said]


def slowest() -> list[dict[str, object]]:
    return [
        request(
            "efficientnet-lite0", "client-7/request-12", queue=0.0201, infer=0.0193, decode=1e-3
        ),
        request("minilm", "", **dict.fromkeys(PHASES, 0.0123)),
    ]


CHECKED = {
    "model": "efficientnet-lite0",
    "version": 1,
    "file": "/somewhere/far/down/in/a/tree/efficientnet-lite0/1/model.onnx",
    "backend": "auto",
    "slo_ms": None,
}


@pytest.mark.parametrize(("width", "enough"), [(12, True), (11, False)])
def test_a_table_fits_when_no_word_needs_to_be_broken(width: int, enough: bool) -> None:
    table = tables.table()
    table.add_column("first")  # a space before, two between, one after
    table.add_column("abc")
    console, text = printed(width)
    assert tables.fits(table, console) is enough
    console.print(table)
    assert ("first  abc" in text.getvalue()) is enough


def test_a_wide_terminal_has_a_column_for_each_phase() -> None:
    console, text = printed(160)
    show_slowest(slowest(), console)
    head, first = text.getvalue().splitlines()[2:5:2]
    assert head.split()[:6] == ["model", "request", "outcome", "ago", "total", "receive"]
    assert "client-7/request-12" in first
    assert first.split()[-9:] == ["0.0", "1.0", "20.1", "0.0", "0.0", "19.3", "0.0", "0.0", "8"]


def test_in_a_narrow_one_the_phases_that_took_most_are_told_and_nothing_is_broken() -> None:
    console, text = printed(80)
    show_slowest(slowest(), console)
    said = text.getvalue()
    assert all(len(line) <= 80 for line in said.splitlines())
    for word in ("efficientnet-lite0 1", "client-7/request-12", "predicted_miss"):
        assert word in said
    first = next(line for line in said.splitlines() if "efficientnet" in line)
    assert "queue 20.1" in first
    assert "decode" not in first
    assert said.count("12.3") == len(PHASES)  # all took as much: all are told


@pytest.mark.parametrize("width", [60, 200])
def test_the_path_of_a_file_stands_whole_in_a_row_or_below(width: int) -> None:
    console, text = printed(width)
    show_checked(console, [CHECKED])
    said = text.getvalue()
    lines = [line.strip() for line in said.splitlines()]
    assert any(str(CHECKED["file"]) in line for line in lines)
    assert ("file" in said.split()[:5]) is (width == 200)
    assert any(line.startswith("efficientnet-lite0  1") for line in lines)


def test_without_models_there_is_nothing_to_say() -> None:
    console, text = printed(80)
    show_checked(console, [])
    assert text.getvalue() == ""


# Clears the screen, gives the terminal a title, writes from right to left, and rings.
ORDERS = "\x1b[2J\x1b]0;t\x1b\\\u202e\x9b31m\r\n\a"


@pytest.mark.parametrize("width", [60, 300])
def test_a_client_cannot_give_orders_to_the_terminal_of_who_looks(width: int) -> None:
    console, text = printed(width)
    show_slowest([request("minilm", f"a{ORDERS}b", queue=0.01)], console)
    said = text.getvalue()
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert r"a\x1b[2J" in said


def test_nor_can_a_server_whose_models_or_errors_are_told() -> None:
    said = {"name": "m", "version": 1, "state": "failed", "reason": f"one{ORDERS}two"}
    console, text = printed(200)
    show(Telling(said | {"labels": [ORDERS]}), console)
    tell(HeadraceError(f"one{ORDERS}two"), console)
    lines = text.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line.strip() for line in lines].count(r"\x07two") == 2  # a reason may have lines
