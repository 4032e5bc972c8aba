"""The page of a load: what is cut, drawn and written."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from headrace.errors import BackendMissing
from headrace.load.page import figures, svg
from headrace.load.page.html import Page, Table, render
from headrace.load.page.timeline import slices
from headrace.load.result import OK, TIMEOUT, Outcome, Result
from headrace.load.verdict import Verdict, judge


def _result(count: int = 2000, duration_s: float = 4.0, outcome: Outcome = TIMEOUT) -> Result:
    random = np.random.default_rng(1)
    at = np.sort(random.uniform(0, duration_s, count))
    return Result(
        intended_s=at,
        sent_s=at,
        done_s=at + random.exponential(0.01, count),
        outcome=(random.random(count) < 0.1).astype(np.uint16),
        outcomes=(OK, outcome),
        answers={},
        started_s=0.0,
        duration_s=duration_s,
        cpu_s=0.0,
    )


def test_slices_have_the_counts_and_quantiles_of_their_requests() -> None:
    result = _result()
    line = slices(result, slo_s=0.02)
    width_s = 4.0 / len(line.middle_s)
    assert line.offered_per_s.sum() * width_s == pytest.approx(2000)
    inside = (result.intended_s >= line.middle_s[1] - width_s / 2) & (
        result.intended_s < line.middle_s[1] + width_s / 2
    )
    waited_s = result.done_s - result.intended_s
    ok = inside & (result.outcome == 0)
    assert line.p99_s[1] == pytest.approx(np.quantile(waited_s[ok], 0.99))
    assert line.p50_s[1] == pytest.approx(np.median(waited_s[ok]))
    kept = np.count_nonzero(ok & (waited_s <= 0.02))
    assert line.kept_per_s[1] == pytest.approx(kept / width_s)


def test_a_slice_with_hardly_an_answer_has_no_latency() -> None:
    line = slices(_result(count=4))
    assert np.isnan(line.p99_s).all()
    assert line.offered_per_s.sum() > 0


def test_a_run_without_requests_is_cut_too() -> None:
    assert slices(_result(count=0)).offered_per_s.sum() == 0


def _verdict() -> Verdict:
    return judge(_result(), slo_s=0.02)


def test_every_drawing_takes_the_pages_colours_and_has_no_size_of_its_own() -> None:
    verdict = _verdict()
    report = verdict.report
    assert report is not None
    drawn = [
        figures.latencies([("one", verdict), ("two", verdict)], 0.02),
        figures.over_time(verdict.result, 0.02),
        figures.reasons(report),
        figures.against_rate([(100.0, True, report), (200.0, False, report)], 0.02),
    ]
    for text in drawn:
        assert text.startswith("<svg ")
        assert text.rstrip().endswith("</svg>")
        assert "var(--ink)" in text
        assert "mathdefault" not in text
        assert not [code for code in svg.COLOURS.values() if code in text]
        assert not re.search(r"<svg [^>]*(width|height)=", text)
    assert "one" in drawn[0]
    assert "timeout" in drawn[2]


def test_what_servers_and_users_say_is_drawn_as_they_say_it() -> None:
    """A dollar would begin TeX."""
    said = [Outcome("500 Internal Server Error", r"a$\frac{$"), Outcome("502 Bad Gateway", "$5$")]
    for outcome in said:
        report = judge(_result(outcome=outcome)).report
        assert report is not None
        assert str(outcome) in figures.reasons(report)
    verdict = _verdict()
    assert r"$\frac{$" in figures.latencies([(r"$\frac{$", verdict), ("b", verdict)], 0.02)


def test_the_tail_is_drawn_up_to_its_last_request() -> None:
    waited_ms, slower = figures._slower(judge(_result(outcome=TIMEOUT)))
    assert np.all(np.diff(waited_ms) >= 0)
    assert np.all(np.diff(slower) <= 0)
    # A tenth was never answered: the line ends there.
    assert slower[-1] == pytest.approx(0.1, abs=0.02)


def test_where_nothing_was_answered_there_is_no_line() -> None:
    verdict = judge(_result(count=0))
    waited_ms, slower = figures._slower(verdict)
    assert waited_ms.size == slower.size == 0
    assert figures.latencies([("", verdict)], None).startswith("<svg ")


def test_a_page_fetches_nothing_and_writes_what_it_was_given_as_text() -> None:
    page = Page(
        title="<script>&",
        how="a 'how'",
        verdict="well",
        failed=False,
        tables=(Table(("", "n"), [("<b>", "1")], numbers=1),),
        drawings=((figures.over_time(_result(), None), "a caption"),),
        document={"a": "</pre><script>"},
    )
    text = render(page)
    assert "<script" not in text
    assert "&lt;script&gt;&amp;" in text
    assert "<td class='number'>1</td>" in text
    # Names of formats in the drawings are the only addresses.
    found = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert found <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"(src|href)=[\"'](?!#)", text.replace("xlink:href=", ""))


def test_a_missing_library_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendMissing, match=r"pip install 'headrace\[report\]'"):
        svg.check()
