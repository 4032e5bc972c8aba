"""What can be planned at all."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headrace.plan.question import Question
from tests.unit.plan.profiles import question


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"rate_rps": math.inf}, "the rate must be more than 0, and a number"),
        ({"rate_rps": math.nan}, "the rate must be"),
        ({"rate_rps": 0.0}, "the rate must be"),
        ({"slo_s": math.inf}, "the objective must be more than 0, and a number"),
        ({"slo_s": math.nan}, "the objective must be"),
        ({"slo_s": 0.0}, "the objective must be"),
        ({"elements": -5}, "elements must be at least 0, not -5"),
        ({"loads": (math.nan,)}, "loads must be"),
    ],
)
def test_what_is_no_number_to_plan_with_is_told(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        question(**said)


def test_a_model_without_input_elements_can_be_planned() -> None:
    assert Question(instances=1, slo_s=None, elements=0).elements == 0
