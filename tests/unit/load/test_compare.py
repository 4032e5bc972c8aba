"""Two in turns, of which one may go away: what of the slices is told."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from headrace.errors import SettingsError, StartError
from headrace.load.command import compare, grammar, written
from headrace.load.command.compared import Compared
from headrace.load.command.drive import screen
from headrace.load.command.show_compared import answer, document, rows
from headrace.load.command.wanted import Wanted
from headrace.load.page.html import render
from headrace.load.plan import Message, OpenLoop, Protocol, Target
from headrace.load.result import CONNECTION_REFUSED, OK, Outcome, Result

TARGET = Target(Protocol.HTTP, "nowhere:1", "/", (Message(b""),))
BUSY = Outcome("503")


def _sides(words: str = "--rate 100") -> tuple[Wanted, Wanted]:
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    said = f"--compare a:1 b:1 --model m --duration-s 60 {words}"
    return compare._sides(parser.parse_args(said.split()))


def _result(waited_s: float, outcome: Outcome = OK) -> Result:
    at = np.arange(200) / 100
    names = tuple(dict.fromkeys((OK, outcome)))
    return Result(
        intended_s=at,
        sent_s=at,
        done_s=at + waited_s,
        outcome=np.full(at.size, names.index(outcome), np.uint16),
        outcomes=names,
        answers={},
        started_s=0.0,
        duration_s=2.0,
        cpu_s=0.1,
    )


def _compared(
    monkeypatch: pytest.MonkeyPatch, last: BaseException | Result, *, slices: int
) -> Compared:
    """Compare two of which B takes twice as long; after so many slices this is what comes."""

    def of_each() -> Iterator[Result]:
        for number in range(slices):
            slower = 2 if number % 4 in {1, 2} else 1
            yield _result(slower * (0.002 + 0.0001 * (number % 5)))
        if not isinstance(last, Result):
            raise last
        yield last

    coming = of_each()
    monkeypatch.setattr(compare, "prepare", lambda _: TARGET)
    monkeypatch.setattr(compare, "drive", lambda *_: (next(coming), False))
    with screen(Console(file=io.StringIO())) as shown:
        return compare.compare(_sides(), shown)


@pytest.mark.parametrize("slices", [28, 29, 30, 31])
def test_of_a_block_that_ctrl_c_ended_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, slices: int
) -> None:
    found = _compared(monkeypatch, KeyboardInterrupt(), slices=slices)
    assert found.failure == "interrupted: of what was measured until then"
    assert len(found.a.slices) == len(found.b.slices) == 14
    p50 = next(row for row in found.rows() if row.name == "p50 ms")
    assert p50.difference is not None
    assert p50.difference.is_told


@pytest.mark.parametrize(
    "last",
    [StartError("no server answers"), _result(0.001, CONNECTION_REFUSED)],
    ids=["before a slice", "in a slice"],
)
def test_a_server_that_goes_away_leaves_the_blocks_before(
    monkeypatch: pytest.MonkeyPatch, last: BaseException | Result
) -> None:
    found = _compared(monkeypatch, last, slices=30)
    assert len(found.a.slices) == len(found.b.slices) == 14
    assert found.failure is not None
    assert found.failure.startswith("B: ")
    assert found.failure.endswith("the numbers are of the whole blocks before")
    assert document(_sides()[0], found)["differences"]["p50_ms"]["can_be_told_apart"]


def test_without_a_whole_block_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="B: it is gone; no block of slices came to its end"):
        _compared(monkeypatch, StartError("it is gone"), slices=2)
    with pytest.raises(KeyboardInterrupt):
        _compared(monkeypatch, KeyboardInterrupt(), slices=3)


def test_a_trace_of_which_nothing_counts_is_told(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("0\n0.05\n0.1\n")
    sides = _sides(f"--arrivals trace:{tmp_path / 'trace'}")
    with (
        screen(Console(file=io.StringIO())) as shown,
        pytest.raises(SettingsError, match="give a longer trace"),
    ):
        compare.compare(sides, shown)


def test_each_slice_has_its_own_part_of_a_trace_and_both_sides_the_same(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("".join(f"{n * n / 100}\n" for n in range(30)))  # to 8.41 s
    a, b = _sides(f"--arrivals trace:{tmp_path / 'trace'}")
    parts = [_times(a, number) for number in range(5)]
    assert parts == [_times(b, number) for number in range(5)]
    assert [len(part) for part in parts] == [15, 5, 5, 4, 13]  # the last from its start again
    assert parts[1][0] == pytest.approx(15 * 15 / 100 - 2)


def _times(wanted: Wanted, number: int) -> list[float]:
    plan = compare._plan(wanted, number)
    assert isinstance(plan, OpenLoop)
    return list(map(float, plan.arrivals.times_s))


def test_a_slice_of_a_trace_in_which_nothing_counts_is_told(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("0\n1\n5\n6\n")
    wanted, _ = _sides(f"--arrivals trace:{tmp_path / 'trace'}")
    with pytest.raises(SettingsError, match="nothing to count in slice 2 of each, 2 s from its"):
        compare._check_slices(wanted)


@pytest.mark.parametrize("words", ["", "--json"])
def test_ctrl_c_before_a_block_has_ended_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "prepare", lambda _: TARGET)
    monkeypatch.setattr(compare, "drive", interrupted)
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    said = f"--compare a:1 b:1 --model m --model n --rate 100 {words}"
    assert compare.run_compare(parser.parse_args(said.split())) == 1
    printed = capsys.readouterr()
    assert "interrupted: no block of slices came to its end" in (
        json.loads(printed.out)["failure"] if words else printed.err
    )


def test_a_side_without_answers_in_some_slices_is_told_from_one_that_is_the_same() -> None:
    wanted, other = _sides()
    a = compare._side(wanted, [_result(0.002)] * 10, 10)
    b = compare._side(other, [_result(0.002)] * 8 + [_result(0.001, BUSY)] * 2, 10)
    found = Compared(a, b)
    assert found.failure is None
    assert answer(found) == (
        "without a single answer were 0 of A's 10 slices and 2 of B's: B did worse there"
    )
    cells = {name: words for name, *_, words in rows(found)}
    assert cells["answers/s"].startswith("cannot tell apart (-75.5% to +35.5%)")
    assert cells["p50 ms"] == "-"
    told = document(wanted, found)
    assert told["b"]["slices_without_answers"] == 2
    assert told["differences"]["p50_ms"] is None
    assert answer(Compared(a, a)) == "A and B cannot be told apart"


@pytest.mark.slow
def test_the_page_of_a_side_that_only_refuses_is_drawn() -> None:
    pytest.importorskip("matplotlib")
    wanted, other = _sides()
    a = compare._side(wanted, [_result(0.002)] * 6, 6)
    b = compare._side(other, [_result(0.001, BUSY)] * 6, 6)
    found = Compared(a, b)
    assert found.failure == "B: not one request was answered"
    page = written.of_pair(wanted, found, document(wanted, found))
    assert render(page).count("<svg ") == 1
