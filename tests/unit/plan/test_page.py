from __future__ import annotations

import functools
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from headrace.load.page.html import Page, render
from headrace.plan.compare import Beside, Compared, Measured
from headrace.plan.document import document
from headrace.plan.make import Plan, make_plan
from headrace.plan.page import page_of
from tests.unit.plan.profiles import machine, profile, question

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow


@functools.cache
def planned(slo_s: float | None = 0.05) -> Plan:
    asked = question(slo_s=slo_s, loads=(0.5,), seeds=1)
    return make_plan(profile(), asked, machine(asked))


def page(plan: Plan, beside: Beside) -> Page:
    return page_of(plan, beside, document(plan, beside))


@functools.cache
def bare(slo_s: float | None = 0.05) -> Page:
    """Nothing measured beside the plan."""
    return page(planned(slo_s), Beside())


def drawn(page: Page) -> list[str]:
    for svg, _ in page.drawings:
        ET.fromstring(svg)  # noqa: S314 - our own
    return [svg for svg, _ in page.drawings]


def test_a_page_has_the_limit_the_reasons_and_the_lines() -> None:
    text = render(bare())
    assert "Highest rate in time" in text
    assert "What limits is the model" in text
    assert len(drawn(bare())) == 2
    for words in ("p50", "p99", "objective", "limit", "requests/s", "rows in a batch"):
        assert words in text
    assert not re.search(r"(src|href)=.https?:", text)


def test_what_was_measured_is_drawn_as_dots_beside_the_lines() -> None:
    plan = planned()
    played = plan.levels[0].played
    one = Compared(0.5, played, Measured(1600, 0.012, 0.02, 7.0, 1.0, 1.0, 1.0, None), 1.0)
    lines, dotted = drawn(bare()), drawn(page(plan, Beside((one,))))
    assert all(
        more.count("<use ") > less.count("<use ") for less, more in zip(lines, dotted, strict=True)
    )
    late = replace(one, measured=replace(one.measured, p50_s=None, p99_s=None))
    assert drawn(page(plan, Beside((late,))))


def test_a_plan_without_a_rate_has_no_lines_and_one_without_an_objective_no_mark() -> None:
    assert bare(0.003).failed
    assert bare(0.003).drawings == ()
    assert "objective" not in drawn(bare(None))[0]
