"""What of a tuned card is taken: never anything that somebody set, and never half of a pair."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.settings import BackendName, Precision
from headrace.tuned import Objective, TunedSettings, take, unfit
from tests.unit.tuned.cards import MACHINE, SETTINGS, tuned

KEYS = tuple(TunedSettings.model_fields)
OTHER: dict[str, Any] = {
    "backend": BackendName.ONNXRUNTIME,
    "precision": Precision.F32,
    "instances": 1,
    "threads": 2,
    "max_batch": 64,
    "linger_ms": 3.0,
    "f32_layers": 5,
}
ENGINE = {"backend", "precision", "f32_layers", "max_batch", "linger_ms"}


def test_where_nothing_is_said_all_of_it_is_taken() -> None:
    taken = take(tuned(), {"slo_ms": 50.0})
    assert taken.settings == SETTINGS.model_dump()
    assert taken.note == ""


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({"max_batch": 64}, {"max_batch"}),
        ({"precision": Precision.F32}, ENGINE),
        ({"backend": BackendName.ONNXRUNTIME}, ENGINE),
        ({"f32_layers": 3}, ENGINE),
        ({"backend": BackendName.OPENVINO}, {"backend"}),
        ({"threads": 2}, {"instances", "threads"}),
        ({"instances": 2}, {"instances"}),
        ({"instances": None}, {"instances", "threads"}),
    ],
)
def test_what_is_set_is_left_with_what_it_belongs_to(said: dict[str, Any], left: set[str]) -> None:
    assert set(KEYS) - take(tuned(), said).settings.keys() == left


@given(st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(KEYS)))
def test_nothing_that_was_set_is_taken(other: set[str], same: set[str]) -> None:
    said = {key: getattr(SETTINGS, key) for key in same} | {key: OTHER[key] for key in other}
    taken = take(tuned(), said)
    assert not taken.settings.keys() & said.keys()
    assert bool(other - {"max_batch"}) == ("set otherwise" in taken.note)


def test_layers_in_f32_say_nothing_of_what_is_in_f32_anyhow() -> None:
    plain = {"backend": BackendName.ONNXRUNTIME, "precision": Precision.F32, "f32_layers": 0}
    card = tuned()
    card = card.model_copy(update={"settings": SETTINGS.model_copy(update=plain)})
    taken = take(card, {"f32_layers": 3, "slo_ms": 50.0})
    assert taken.settings.keys() == {*KEYS} - {"f32_layers"}
    assert taken.note == ""


def test_another_objective_is_told() -> None:
    assert "--slo-ms 50" in take(tuned(), {}).note
    assert "the objective is 20 ms now" in take(tuned(), {"slo_ms": 20.0}).note
    # A card has four digits of it.
    card = tuned().model_copy(update={"objective": Objective(slo_ms=16.67)})
    assert take(card, {"slo_ms": 16.667}).note == ""


def test_another_model_or_machine_does_not_fit() -> None:
    assert unfit(tuned(), MACHINE, "sha256:0") == []
    assert unfit(tuned(), MACHINE, "sha256:1") == [
        "the model's files have changed since it was tuned"
    ]
    other = MACHINE.model_copy(update={"cores": 64})
    assert unfit(tuned(), other, "sha256:0") == ["64 cores may be used, and 2 cores could"]


def test_only_the_library_that_runs_it_matters() -> None:
    newer = {"openvino": "2026.4.1", "onnxruntime": "1.40.0", "torch": "2.9"}
    assert unfit(tuned(), MACHINE.model_copy(update={"libraries": newer}), "sha256:0") == []
    newer["openvino"] = "2027.1"
    assert unfit(tuned(), MACHINE.model_copy(update={"libraries": newer}), "sha256:0") == [
        "openvino is 2027.1, and was 2026.4.1"
    ]


def test_a_rate_that_did_not_meet_the_objective_is_told() -> None:
    found = tuned()
    assert take(found, {"slo_ms": 50.0}).note == ""
    evidence = found.evidence.model_copy(update={"p99_s": None})
    noisy = found.model_copy(update={"evidence": evidence})
    assert "no rate was seen to meet the objective" in take(noisy, {"slo_ms": 50.0}).note


def test_what_inductor_compiled_depends_on_pytorch() -> None:
    found = tuned()
    settings = found.settings.model_copy(update={"backend": BackendName.INDUCTOR})
    found = found.model_copy(update={"settings": settings})
    here = MACHINE.model_copy(update={"libraries": {**MACHINE.libraries, "torch": "9.0"}})
    assert any("torch is 9.0" in one for one in unfit(found, here, "sha256:0"))


def test_a_larger_cap_than_was_found_does_no_harm_and_is_told_so() -> None:
    found = tuned()
    taken = take(found, {"max_batch": found.settings.max_batch * 2})
    assert "max_batch" not in taken.settings
    assert f"though past {found.settings.max_batch} batches do not pay" in taken.note
    assert "nothing was measured" not in taken.note
