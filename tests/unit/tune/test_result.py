"""What is made of a tuning: the frontier, the reasons, JSON, a table, a page."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from headrace.load.page.html import render
from headrace.tune.document import document
from headrace.tune.halving import rank
from headrace.tune.page import page_of
from headrace.tune.raced import Highest, Raced
from headrace.tune.reasons import reasons
from headrace.tune.result import Tuning, frontier
from headrace.tune.show import HEADS, Card, show
from headrace.tune.space import LeftOut
from headrace.tune.wanted import Objective, Wanted
from tests.unit.tune.made import BF16, F32, candidate, forecast, tuning

UNTUNED, FAST, NEAR = candidate(F32, 2, 64), candidate(BF16, 2, 4), candidate(BF16, 1, 4)
FOUND = [forecast(UNTUNED, 100), forecast(FAST, 210, 0.03), forecast(NEAR, 150, 0.048)]
SLICES = {UNTUNED: (99.0, 101.0) * 3, FAST: (199.0, 201.0) * 3}


def raced(slices: dict[object, tuple[float, ...]] | None = None) -> Raced:
    seen = SLICES if slices is None else slices
    return Raced(
        slices=seen,  # type: ignore[arg-type]
        memory_bytes={FAST: 80 * 2**20},
        highest={FAST: Highest(180.0, 0.047), UNTUNED: Highest(90.0, 0.049)},
        ranking=rank(seen, UNTUNED, dict.fromkeys(seen, 1.0)),  # type: ignore[arg-type]
        failed=(),
        capped=frozenset(),
        ceiling_rps=5000.0,
        rungs=(),
        cut_short=False,
    )


def done() -> Tuning:
    return tuning(raced(), FOUND, FAST)


NOTHING_RACED = Raced({}, {}, {}, None, (), frozenset(), 5000.0, (), cut_short=True)


def test_the_gain_is_of_what_was_raced() -> None:
    assert done().gain == pytest.approx(2.0)
    assert done().chosen.forecast_error == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("rate_rps", "ceiling_rps", "capped", "told"),
    [
        (300.0, 500.0, False, "None of what was raced holds the 300 requests/s of --rate: this"),
        (150.0, 500.0, False, ""),
        (150.0, 225.0, True, "225 requests/s: more is not wanted"),
        (100000.0, 225.0, True, "whether anything holds the 100,000 of --rate was not seen"),
    ],
)
def test_a_rate_that_was_not_reached_is_told(
    rate_rps: float, ceiling_rps: float, told: str, *, capped: bool
) -> None:
    wanted = Wanted(Objective(0.05), 0.005, 240.0, rate_rps)
    seen = frozenset({FAST}) if capped else frozenset()
    found = replace(raced(), ceiling_rps=ceiling_rps, capped=seen)
    lines = "\n".join(reasons(tuning(found, FOUND, FAST, wanted)))
    assert told in lines
    assert ("not wanted" in lines) == ("not wanted" in told)
    assert ("--rate" in lines) == ("--rate" in told)


def test_on_the_frontier_nobody_is_better_in_everything() -> None:
    here = done()
    # The untuned one is nearest to f32, and NEAR does less, later, with more memory.
    assert here.frontier == {FAST, UNTUNED}
    assert frontier(here.rows[:1]) == {here.rows[0].candidate}


def test_the_reasons_say_what_limits_what() -> None:
    said = " ".join(reasons(done()))
    assert "openvino in bf16 runs 32 rows 1.94 times as fast as in f32" in said
    assert "In f32 a row takes onnxruntime 5 ms and openvino 4 ms" in said
    assert "2 instances of 1 thread do 1.40 times as much in time as 1 instance of 1 thread" in said
    assert "What limits is" in said
    assert "+5 %" in said


@pytest.mark.parametrize(
    ("instances", "words"),
    [(1, "`server.receivers: 2` would share its work"), (2, "the lanes have all 2")],
)
def test_where_the_receiver_limits_more_of_them_are_named_if_there_is_a_core(
    instances: int, words: str
) -> None:
    busy = replace(forecast(candidate(BF16, instances, 32), 600), front_busy=0.9)
    said = " ".join(reasons(tuning(NOTHING_RACED, [forecast(UNTUNED, 100), busy], busy.candidate)))
    assert "What limits is the receiver" in said
    assert words in said


def test_what_cannot_be_told_apart_is_said() -> None:
    tied = raced({UNTUNED: (100.0,) * 6, FAST: (101.0,) * 6})
    said = " ".join(reasons(tuning(tied, FOUND, UNTUNED)))
    assert "cannot be told from it" in said
    assert "The untuned one is taken" in said


def test_a_forecast_that_was_not_raced_is_called_so() -> None:
    here = tuning(NOTHING_RACED, FOUND, FAST)
    assert "Nothing was raced" in reasons(here)[0]
    assert document(here)["raced"] is False
    assert here.gain == pytest.approx(2.1)


def test_where_all_contestants_failed_the_time_is_not_blamed() -> None:
    failed = (LeftOut(str(FAST), "its server ended"), LeftOut(str(UNTUNED), "the port is in use"))
    said = reasons(tuning(replace(NOTHING_RACED, failed=failed), FOUND, FAST))[0]
    assert "failed" in said
    assert f"{FAST}: its server ended" in said
    assert "no time" not in said


def test_it_is_json_and_says_all_of_it() -> None:
    found = json.loads(json.dumps(document(done())))
    assert found["chosen"]["precision"] == "bf16"
    assert found["gain"] == 2.0
    first = found["candidates"][0]
    assert (first["highest_rps"], first["highest_p99_ms"]) == (180, 47)
    assert first["accuracy"]["cosine"] == 0.9997
    assert first["frontier"] is True
    assert [one["what"] for one in found["left_out"]] == ["torch f32"]


def test_a_table_has_the_answer_the_untuned_and_where_the_card_is() -> None:
    text = io.StringIO()
    beside = Path("digits.tuned.yaml")
    show(done(), Card(beside, beside), Console(file=text, width=120))
    said = text.getvalue()
    assert "200 answers/s in time, 2.00 times the 100 untuned" in said
    assert "openvino f32 (untuned) *" in said
    assert "Written to digits.tuned.yaml; `headrace serve` takes it from there" in said
    assert "torch f32: it does not read ONNX" in said
    assert "at most 0.50% may name another best class" in " ".join(said.split())


def test_what_a_server_will_not_take_is_told_with_where_that_is_set() -> None:
    text = io.StringIO()
    beside, where = Path("digits.tuned.yaml"), {"instances": "card.yaml or config.pbtxt"}
    show(done(), Card(beside, beside, ("instances",), where), Console(file=text, width=200))
    said = text.getvalue()
    assert "will not take instances from it, for you have set instances (card.yaml or" in said


def test_in_eighty_columns_no_word_of_the_table_is_broken() -> None:
    text = io.StringIO()
    show(done(), None, Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    head = next(line for line in lines if line.lstrip().startswith("settings"))
    assert head.split() == " ".join(HEADS).split()
    row = next(line for line in lines if line.lstrip().startswith("openvino bf16 *"))
    assert row.split()[-6:] == ["210", "200", "47.0", "80", "100.0%", "0.99970"]


def test_of_rates_that_were_not_tried_nothing_is_said() -> None:
    none_tried = tuning(replace(raced(), highest={}), FOUND, FAST)
    assert not any("At none of the rates" in one for one in reasons(none_tried))


@pytest.mark.slow
@pytest.mark.parametrize("found", [raced(), NOTHING_RACED])
def test_a_page_has_its_drawings(found: Raced) -> None:
    pytest.importorskip("matplotlib")
    here = tuning(found, FOUND, FAST, Wanted(Objective(0.05), 0.005, 240.0, 150.0))
    text = render(page_of(here, document(here)))
    assert text.count("<svg ") == 3
    assert "digits, tuned" in text
    assert "1 - cosine to f32" in text
    assert "mathdefault" not in text  # a power of ten is no TeX


@pytest.mark.slow
def test_where_nothing_is_in_time_the_page_is_drawn_too() -> None:
    pytest.importorskip("matplotlib")
    never = [replace(forecast(one, 0.0), p99_s=None) for one in (UNTUNED, FAST)]
    here = tuning(NOTHING_RACED, never, UNTUNED)
    assert render(page_of(here, document(here))).count("<svg ") == 3
