"""The gate passes what answers as well as the reference, and nothing else."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import SettingsError
from headrace.settings import ResultStep
from headrace.tune.drop import enough, highest_drop
from headrace.tune.gate import Supply, judge
from headrace.tune.nearness import compare, known_scores
from headrace.values import Array, DType, TensorSpec

RANDOM = np.random.default_rng(0)
ALLOWED = 0.005


def logits(rows: int = 400, classes: int = 10) -> Array:
    return RANDOM.normal(size=(rows, classes)).astype(np.float32)


def rounded(array: Array) -> Array:
    return np.asarray(array.astype(ml_dtypes.bfloat16).astype(np.float32))


def flipped(array: Array, rows: int) -> Array:
    """The same with the best class of some rows made the worst."""
    other = array.copy()
    other[np.arange(rows), array[:rows].argmax(axis=1)] = array.min() - 1
    return other


# -- without labels --------------------------------------------------------------------------------


def test_the_same_answers_pass() -> None:
    y = logits()
    verdict = judge({"logits": y}, {"logits": y}, labels=None, max_drop=0.0)
    assert verdict.passed
    assert verdict.accuracy.metric == "top1_agreement"
    assert (verdict.accuracy.top1_agreement, verdict.accuracy.cosine) == (1.0, 1.0)
    assert verdict.accuracy.kl == pytest.approx(0.0, abs=1e-12)
    assert not verdict.accuracy.labelled


def test_what_rounding_to_16_bits_does_passes() -> None:
    y = logits() * 4
    verdict = judge({"scores": y}, {"scores": rounded(y)}, labels=None, max_drop=0.01)
    assert verdict.passed, verdict.reason
    assert verdict.accuracy.cosine > 0.9999


def test_other_best_classes_fail_though_the_numbers_are_near() -> None:
    y = np.zeros((400, 100), np.float32)
    y[:, :2] = [[100.0, 99.999]]
    other = y.copy()
    other[:20, 1] = 100.001
    verdict = judge({"logits": y}, {"logits": other}, labels=None, max_drop=ALLOWED)
    assert verdict.accuracy.cosine > 0.9999
    assert not verdict.passed
    assert "another best class in 5.00%" in verdict.reason
    assert "allowed are 0.50%" in verdict.reason


@pytest.mark.parametrize(("rows", "changed"), [(400, 2), (30, 3), (7, 1), (3, 0), (3, 3)])
def test_without_labels_exactly_what_is_allowed_may_change(rows: int, changed: int) -> None:
    y = np.zeros((rows, 100), np.float32)
    y[:, :2] = [[100.0, 99.999]]
    other = y.copy()
    other[:changed, 1] = 100.001
    verdict = judge({"logits": y}, {"logits": other}, labels=None, max_drop=changed / rows)
    assert verdict.passed
    assert verdict.accuracy.max_drop == changed / rows
    if changed:
        least = (changed - 0.5) / rows
        assert not judge({"logits": y}, {"logits": other}, labels=None, max_drop=least).passed


def test_an_embedding_is_judged_by_its_numbers_alone() -> None:
    y = logits(64, 384)
    noisy = y + 0.01 * logits(64, 384)
    verdict = judge({"embedding": y}, {"embedding": noisy}, labels=None, max_drop=0.0)
    assert verdict.passed
    assert verdict.accuracy.metric == "cosine"
    assert verdict.accuracy.top1_agreement is None
    assert not judge({"e": y}, {"e": y + 0.1 * logits(64, 384)}, labels=None, max_drop=0.0).passed


def test_a_wrong_scale_fails_though_the_direction_is_right() -> None:
    y = logits(64, 1)
    verdict = judge({"price": y}, {"price": 1.1 * y}, labels=None, max_drop=0.1)
    assert verdict.accuracy.cosine == pytest.approx(1.0)
    assert not verdict.passed
    assert "off by 10.00% of its size" in verdict.reason


def test_numbers_whose_squares_are_not_finite_are_compared() -> None:
    y = 1e300 * np.abs(RANDOM.normal(size=(64, 8)))
    assert judge({"y": y}, {"y": y * (1 + 1e-9)}, labels=None, max_drop=0.0).passed
    turned = judge({"y": y}, {"y": -y}, labels=None, max_drop=0.0)
    assert turned.accuracy.cosine == pytest.approx(-1.0)
    assert not turned.passed


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_fails_with_the_plain_reason(wrong: float) -> None:
    y = logits()
    other = y.copy()
    other[:3, 0] = wrong
    verdict = judge({"logits": y}, {"logits": other}, labels=None, max_drop=1.0)
    assert not verdict.passed
    assert "not finite in 3 of 400 answers" in verdict.reason
    assert judge({"logits": other}, {"logits": other}, labels=None, max_drop=0.0).passed


def test_another_shape_or_a_missing_output_fails() -> None:
    y = logits()
    assert "of shape [400, 9]" in judge({"a": y}, {"a": y[:, 1:]}, labels=None, max_drop=1).reason
    verdict = judge({"a": y}, {"b": y}, labels=None, max_drop=1)
    assert not verdict.passed
    assert "no output 'a'" in verdict.reason


def test_the_worst_output_decides() -> None:
    y, box = logits(), logits(400, 4)
    verdict = judge(
        {"logits": y, "box": box}, {"logits": y, "box": -box}, labels=None, max_drop=ALLOWED
    )
    assert not verdict.passed
    assert "'box'" in verdict.reason
    assert verdict.accuracy.cosine == pytest.approx(-1.0)


def test_classes_that_the_model_chooses_itself_must_be_the_same() -> None:
    chosen = np.arange(200)
    other = chosen.copy()
    other[:3] = 0
    assert judge({"c": chosen}, {"c": chosen}, labels=None, max_drop=0.0).passed
    assert not judge({"c": chosen}, {"c": other}, labels=None, max_drop=0.001).passed


def test_shares_are_known_to_be_scores_whatever_they_are_called() -> None:
    shares = np.full((4, 5), 0.2, np.float32)
    assert compare("y", shares, shares, ()).scores
    assert not compare("y", logits(), logits(), ()).scores
    assert compare("y", logits(), logits(), ("y",)).scores


def test_a_card_says_which_outputs_are_scores_by_its_steps_and_by_its_names_of_classes() -> None:
    outputs = [
        TensorSpec(name, DType.FP32, (None, size)) for name, size in (("a", 3), ("b", 7), ("c", 4))
    ]
    steps = [ResultStep(output="b", apply="top_k"), ResultStep(output="c", apply="sigmoid")]
    assert known_scores(outputs, 3, steps) == {"a", "b"}
    assert known_scores(outputs, 0, []) == frozenset()


def test_quantised_scores_that_are_known_are_compared_by_their_best_class() -> None:
    y = RANDOM.permuted(np.tile(np.arange(100, dtype=np.uint8), (200, 1)), axis=1)
    near = np.where(y < 90, y + 1, y)
    assert not judge({"y": y}, {"y": near}, labels=None, max_drop=ALLOWED).passed
    known = judge({"y": y}, {"y": near}, labels=None, max_drop=ALLOWED, scores=("y",))
    assert known.passed, known.reason
    assert known.accuracy.top1_agreement == 1
    other = y.copy()
    other[:4] = 99 - y[:4]
    assert not judge({"y": y}, {"y": other}, labels=None, max_drop=0.01, scores=("y",)).passed


@pytest.mark.parametrize("shape", [(40, 0), (40, 0, 4), (0,)])
def test_an_output_without_elements_says_nothing(shape: tuple[int, ...]) -> None:
    for dtype in (np.float32, np.int64):
        y, none = logits(40), np.zeros(shape, dtype)
        outputs = {"none": none, "y": y}
        assert judge(outputs, outputs, labels=None, max_drop=0.0, scores=("none",)).passed
        assert judge(outputs, outputs, labels=y.argmax(axis=1), max_drop=ALLOWED).passed


# -- with labels -----------------------------------------------------------------------------------


def test_with_labels_it_is_the_drop_that_counts() -> None:
    y = logits(2000)
    labels = y.argmax(axis=1)
    good = judge({"y": y}, {"y": flipped(y, 2)}, labels=labels, max_drop=ALLOWED)
    assert good.passed, good.reason
    drop, bound = good.accuracy.drop, good.accuracy.drop_bound
    assert drop == pytest.approx(0.001)
    assert drop is not None
    assert bound is not None
    assert drop < bound <= ALLOWED
    bad = judge({"y": y}, {"y": flipped(y, 40)}, labels=labels, max_drop=ALLOWED)
    assert not bad.passed
    assert "a drop of 2.00%, allowed is 0.50%" in bad.reason


def test_answers_that_were_wrong_already_may_change() -> None:
    y = logits(1000)
    labels = (y.argmax(axis=1) + 1) % 10
    verdict = judge({"y": y}, {"y": rounded(flipped(y, 0))}, labels=labels, max_drop=ALLOWED)
    assert verdict.passed


def hundred() -> tuple[Array, Array, Array]:
    """What two answer to so few samples, the second all of them right."""
    y = logits(100)
    other = y + 0.001 * logits(100)
    return y, other, other.argmax(axis=1)


def test_too_few_samples_say_how_many_are_enough() -> None:
    y, other, labels = hundred()
    verdict = judge({"y": y}, {"y": other}, labels=labels, max_drop=ALLOWED)
    assert not verdict.passed
    assert "at least 539" in verdict.reason
    assert "--max-drop 2.7%" in verdict.reason
    assert judge({"y": y}, {"y": other}, labels=labels, max_drop=0.027).passed
    assert not judge({"y": y}, {"y": other}, labels=labels, max_drop=0.026).passed


def test_where_time_was_the_reason_for_few_it_is_a_longer_budget_that_helps() -> None:
    y, other, labels = hundred()
    for supply, words in (
        (Supply(600, 600), "there was time for 100 of 600, give a longer --budget (or"),
        (
            Supply(300, 300),
            "there was time for 100 of 300, give a longer --budget, and at least 539 samples",
        ),
        (Supply(100, 100), "give more, at least 539"),
    ):
        verdict = judge({"y": y}, {"y": other}, labels=labels, max_drop=ALLOWED, supply=supply)
        assert not verdict.passed
        assert words in verdict.reason
        assert verdict.undecided == (supply.there > 100)
    worse = judge(
        {"y": y}, {"y": flipped(y, 10)}, labels=labels, max_drop=ALLOWED, supply=Supply(600, 600)
    )
    assert not worse.undecided
    none = judge({"y": y}, {"y": other}, labels=labels, max_drop=0.0)
    assert "allow some" in none.reason


def test_where_memory_was_the_reason_for_few_no_more_are_asked_for() -> None:
    y, other, labels = hundred()
    for supply, words in (
        (Supply(600, 100), "there is memory for 100 of 600, give smaller ones (or"),
        (Supply(600, 300), "there is memory for 300 of 600, give smaller ones (or"),
        (Supply(300, 100), "100 of 300, give smaller ones, and at least 539 samples (or"),
    ):
        verdict = judge({"y": y}, {"y": other}, labels=labels, max_drop=ALLOWED, supply=supply)
        assert words in verdict.reason
        assert verdict.undecided == (supply.held > 100)


def test_of_many_samples_that_differ_in_some_more_are_asked_for_than_were_given() -> None:
    y = logits(600)
    labels = y.argmax(axis=1)
    labels[3:6] = flipped(y, 6)[3:6].argmax(axis=1)
    verdict = judge({"y": y}, {"y": flipped(y, 6)}, labels=labels, max_drop=ALLOWED)
    assert verdict.accuracy.drop == 0
    assert not verdict.passed
    more = int(verdict.reason.split("at least ")[1].split()[0])
    assert highest_drop(more / 200, more / 200, more) <= ALLOWED
    assert 600 < more < 2000


def test_what_is_the_same_but_for_rounding_passes_with_few_samples() -> None:
    y = logits(20)
    other = (y * np.float32(1 + 1e-6)).astype(np.float32)
    assert judge({"y": y}, {"y": other}, labels=y.argmax(axis=1), max_drop=0.0).passed


def test_labels_that_fit_no_output_are_told() -> None:
    y = logits(20, 3)
    with pytest.raises(SettingsError, match=r"labels, \[20\] from 0 to 7, fit no output"):
        judge({"y": y}, {"y": y}, labels=np.arange(20) % 8, max_drop=0.1)
    with pytest.raises(SettingsError, match="fit no output"):
        judge({"y": y[:, 0]}, {"y": y[:, 0]}, labels=np.zeros(20, int), max_drop=0.1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_the_best_class_of_quantised_scores_is_the_largest(dtype: type[np.number]) -> None:
    y = RANDOM.permuted(np.tile(np.arange(100).astype(dtype), (600, 1)), axis=1)
    labels = y.argmax(axis=1)
    near = np.where(y < 90, y + 1, y).astype(dtype)
    verdict = judge({"y": y}, {"y": near}, labels=labels, max_drop=ALLOWED)
    assert verdict.passed, verdict.reason
    assert "top-1 100.00% before, 100.00% after" in verdict.reason
    assert verdict.accuracy.top1_agreement == 1
    few = judge({"y": y[:20]}, {"y": near[:20]}, labels=labels[:20], max_drop=ALLOWED)
    assert not few.passed
    assert judge({"y": y[:20]}, {"y": y[:20]}, labels=labels[:20], max_drop=ALLOWED).passed


def test_of_several_outputs_the_labels_are_of_the_likeliest() -> None:
    y = logits(600, 5)
    labels = y.argmax(axis=1)
    places = np.argsort(y, axis=1)  # the best are the last: they are no scores
    for other in (places, labels.reshape(-1, 1)):
        outputs = {"other": other, "y": y}
        verdict = judge(outputs, outputs, labels=labels, max_drop=ALLOWED)
        assert "top-1 100.00% before" in verdict.reason
    names = np.full((600, 5), b"cat", object)
    with pytest.raises(SettingsError, match="fit no output"):
        judge({"y": names}, {"y": names}, labels=labels, max_drop=ALLOWED)


def test_labels_of_an_output_without_elements_are_told() -> None:
    y = np.zeros((20, 0), np.float32)
    with pytest.raises(SettingsError, match="fit no output"):
        judge({"y": y}, {"y": y}, labels=np.zeros(20, int), max_drop=0.1)


# -- the interval ----------------------------------------------------------------------------------


def test_where_no_answer_differs_the_limit_is_that_of_the_formula() -> None:
    z2 = 1.6448536**2
    for rows in (10, 539, 5000):
        assert highest_drop(0, 0, rows) == pytest.approx(z2 / (rows + z2), rel=1e-5)


def test_so_many_samples_are_enough_and_no_fewer() -> None:
    assert enough(ALLOWED) == 539
    assert highest_drop(0, 0, 539) <= ALLOWED < highest_drop(0, 0, 538)
    assert enough(ALLOWED, 0.001, 0.001) is not None
    assert enough(0.0) is None
    assert enough(ALLOWED, 0.01, 0.005) is None


def test_of_many_samples_the_limit_is_that_of_the_normal_distribution() -> None:
    lost, won, rows = 300, 100, 10_000
    drop = (lost - won) / rows
    spread = ((lost + won) / rows - drop**2) / rows
    assert highest_drop(lost, won, rows) == pytest.approx(drop + 1.645 * spread**0.5, rel=0.02)


@given(st.integers(1, 2000), st.data())
def test_the_limit_is_above_what_was_seen_and_falls_with_every_answer_won(
    rows: int, data: st.DataObject
) -> None:
    lost = data.draw(st.integers(0, rows))
    won = data.draw(st.integers(0, rows - lost))
    limit = highest_drop(lost, won, rows)
    assert (lost - won) / rows <= limit <= 1
    if lost + won < rows:
        assert highest_drop(lost, won + 1, rows) <= limit + 1e-9
        assert highest_drop(lost + 1, won, rows) >= limit - 1e-9
