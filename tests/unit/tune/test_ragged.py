"""Answers of other shapes from sample to sample, as detectors have, are compared all the same."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import ModelDiffers, SettingsError
from headrace.tune.gate import Verdict, judge
from headrace.tune.ragged import Parts, side_by_side
from headrace.values import Array

RANDOM = np.random.default_rng(0)
COUNTS = (3, 0, 5, 1) * 10


def boxes() -> list[Array]:
    return [RANDOM.normal(size=(1, count, 4)).astype(np.float32) for count in COUNTS]


def classes() -> list[Array]:
    return [RANDOM.integers(0, 80, (1, count)) for count in COUNTS]


def judged(reference: Parts, candidate: Parts, max_drop: float = 0.0) -> Verdict:
    before, after = side_by_side(reference, candidate)
    return judge(before, after, labels=None, max_drop=max_drop)


def test_the_same_answers_pass_whatever_they_are_called() -> None:
    answers = {"boxes": boxes(), "scores": boxes(), "classes": classes()}
    verdict = judged(answers, answers)
    assert verdict.passed, verdict.reason
    assert verdict.accuracy.samples == len(COUNTS)
    assert verdict.accuracy.cosine == 1.0


def test_what_is_filled_up_hides_no_number_that_is_off() -> None:
    before = boxes()
    after = [array * np.float32(1.1) for array in before]
    verdict = judged({"boxes": before}, {"boxes": after})
    assert not verdict.passed
    assert "is off by 10.00%" in verdict.reason


def test_integers_are_equal_in_the_whole_of_a_sample_or_not_at_all() -> None:
    before = classes()
    after = [array.copy() for array in before]
    after[2][0, 4] += 1
    assert not judged({"classes": before}, {"classes": after}, 0.02).passed
    verdict = judged({"classes": before}, {"classes": after}, 0.03)
    assert verdict.passed
    assert verdict.accuracy.top1_agreement == pytest.approx(1 - 1 / len(COUNTS))


def test_what_is_compared_as_a_whole_is_not_taken_for_the_class_of_the_labels() -> None:
    rows = 2000
    ids = [np.zeros((1, 1 + place % 3), np.int64) for place in range(rows)]
    logits = RANDOM.normal(size=(rows, 10)).astype(np.float32)
    labels, worse = logits.argmax(axis=1), logits.copy()
    worse[np.arange(100), labels[:100]] = logits.min() - 1
    before, after = side_by_side(
        {"ids": ids, "logits": np.split(logits, rows)},
        {"ids": ids, "logits": np.split(worse, rows)},
    )
    verdict = judge(before, after, labels=labels, max_drop=0.005)
    assert not verdict.passed
    assert "top-1 100.00% before, 95.00% after" in verdict.reason
    with pytest.raises(SettingsError, match="fit no output"):
        judge({"ids": before["ids"]}, {"ids": after["ids"]}, labels=labels, max_drop=0.005)


def test_a_sample_of_another_shape_is_named() -> None:
    before, after = boxes(), boxes()
    after[2] = after[2][:, :4]
    with pytest.raises(ModelDiffers, match=r"\[4, 4\] for sample 2, the reference's of \[5, 4\]"):
        side_by_side({"boxes": before}, {"boxes": after})


def test_an_output_that_is_missing_is_told_as_of_any_other_model() -> None:
    assert judged({"boxes": boxes()}, {}).reason == "it has no output 'boxes'"


def test_answers_that_are_all_empty_pass_nothing() -> None:
    empty = {"boxes": [np.zeros((1, 0, 4), np.float32)] * 3}
    with pytest.raises(SettingsError, match="are empty"):
        side_by_side(empty, empty)


def test_where_one_output_is_always_empty_the_others_are_judged() -> None:
    answers: Parts = {"scores": [np.zeros((1, 0, 4), np.float32)] * 3, "n": [np.ones((1, 1))] * 3}
    assert judged(answers, answers).passed


def test_outputs_of_one_shape_are_joined_as_they_are() -> None:
    rows = [np.full((1, 3), place) for place in range(4)]
    before, _ = side_by_side({"y": rows}, {"y": rows})
    assert before["y"].tolist() == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]
