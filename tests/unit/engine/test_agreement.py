"""How far answers are apart: laws, and cases whose result one can work out."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.engine.agreement import Gap, changed, gaps, is_beyond, told, unlike
from headrace.values import Array, DType, Signature, TensorSpec
from headrace.verify import Verify

VERIFY = Verify(mode="shadow")
moderate = st.floats(min_value=1e-3, max_value=1e3).flatmap(lambda x: st.sampled_from([x, -x]))
answers = st.lists(arrays.arrays(np.float64, (2, 3), elements=moderate), min_size=1, max_size=5)


def _gap(before: list[Array], after: list[Array], verify: Verify = VERIFY) -> Gap:
    (found,) = gaps([{"y": a} for a in before], [{"y": a} for a in after], verify)
    return found


@given(answers)
def test_what_is_the_same_is_not_apart(before: list[Array]) -> None:
    found = _gap(before, [a.copy() for a in before])
    assert found == Gap("y", floats=True, size=0.0, off=0)
    assert not is_beyond(found, Verify(mode="shadow", difference=0))


@given(answers, st.integers(min_value=0), moderate)
def test_any_change_is_seen(before: list[Array], place: int, change: float) -> None:
    after = [a.copy() for a in before]
    flat = after[place % len(after)].ravel()
    flat[place % flat.size] += change
    assert _gap(before, after).size > 0


@given(answers, st.floats(min_value=1e-3, max_value=1e3))
def test_the_unit_of_an_output_does_not_matter(before: list[Array], unit: float) -> None:
    after = [a + 1 for a in before]
    scaled = _gap([a * unit for a in before], [a * unit for a in after])
    assert scaled.size == pytest.approx(_gap(before, after).size)


@given(answers)
def test_the_order_of_requests_does_not_matter(before: list[Array]) -> None:
    pairs = [(a, a + number) for number, a in enumerate(before)]
    turned = pairs[::-1]
    one = _gap([a for a, _ in pairs], [b for _, b in pairs])
    other = _gap([a for a, _ in turned], [b for _, b in turned])
    assert one.size == pytest.approx(other.size)
    assert one.off == other.off


@given(answers, st.floats(min_value=0.001, max_value=2))
def test_an_output_that_is_larger_by_a_part_is_off_by_about_that_part(
    before: list[Array], part: float
) -> None:
    # The largest answer is measured by itself.
    assert _gap(before, [a * (1 + part) for a in before]).size >= part * 0.999


def test_an_answer_near_zero_may_be_off_by_what_is_little_for_the_usual_one() -> None:
    sizes = (1.0, 1.0, 1e-6)
    after = [np.full((1, 2), size) for size in (1.0, 1.0, 2e-6)]
    assert _gap([np.full((1, 2), size) for size in sizes], after).size == pytest.approx(1e-6)


def test_a_large_answer_hides_no_other() -> None:
    before: list[Array] = [np.full((1, 2), size) for size in (1.0, 1000.0, 1.0)]
    found = _gap(before, [before[0] * 2, before[1] * 1.01, before[2]])
    assert found.size == pytest.approx(1.0)
    assert found.off == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_only_agrees_with_itself(bad: float) -> None:
    whole, broken = np.array([[1.0, 2.0]]), np.array([[1.0, bad]])
    assert _gap([broken], [broken.copy()]).size == 0
    for before, after in ((whole, broken), (broken, whole)):
        found = _gap([before], [after])
        assert found.size == math.inf
        assert is_beyond(found, Verify(mode="shadow", difference=1e9))
        assert told(found) == "not a number, or infinite"


def test_zeros_agree_with_zeros_and_with_nothing_else() -> None:
    zeros = np.zeros((1, 2))
    assert _gap([zeros], [zeros]).size == 0
    assert _gap([zeros], [zeros + 1e-9]).size == math.inf


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_every_kind_of_float_is_measured(dtype: type) -> None:
    before: Array = np.full((1, 4), 2.0).astype(dtype)
    after: Array = np.full((1, 4), 2.5).astype(dtype)
    found = _gap([before], [after])
    assert found.size == pytest.approx(0.25)
    assert (found.floats, found.off) == (True, 1)
    assert told(found) == "25 % of its size"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.arange(10), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 0])),
        (np.zeros(10, bool), np.array([True] + [False] * 9)),
        (np.array([b"a"] * 10, object), np.array([b"a"] * 9 + [b"b"], object)),
    ],
)
def test_of_other_kinds_equal_elements_count(before: Array, after: Array) -> None:
    found = _gap([before, before], [before, after])
    assert found == Gap("y", floats=False, size=0.05, off=1)
    assert is_beyond(found, VERIFY)
    assert not is_beyond(found, Verify(mode="shadow", equal=0.95))
    assert told(found) == "5 % of its elements"


def test_an_output_without_elements_agrees() -> None:
    assert _gap([np.zeros((1, 0))], [np.zeros((1, 0))]).size == 0
    assert _gap([np.zeros((1, 0), int)], [np.zeros((1, 0), int)]).size == 0


SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 4)), TensorSpec("n", DType.INT64, (None, "length"))),
    (),
    batched=True,
)
X, N = np.zeros((1, 4), np.float32), np.zeros((1, 9), np.int64)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"x": X, "n": N}, None),
        ({"x": X, "n": N, "z": N}, "it has no input 'z'"),
        ({"x": X}, "it also wants an input 'n'"),
        ({"x": X[:, :3], "n": N}, r"its input 'x' is FP32 [-1, 4], and a request had FP32 [1, 3]"),
        ({"x": X[0], "n": N}, r"its input 'x' is FP32 [-1, 4], and a request had FP32 [4]"),
        ({"x": N, "n": N}, r"its input 'x' is FP32 [-1, 4], and a request had INT64 [1, 9]"),
    ],
)
def test_a_changed_signature_is_told(inputs: dict[str, Array], reason: str | None) -> None:
    assert changed(inputs, SIGNATURE) == reason


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({"y": X, "more": N}, None),
        ({"z": X}, "it has no output 'y'"),
        ({"y": X[:, :3]}, "its output 'y' is FP32 [1, 3], and was FP32 [1, 4]"),
        ({"y": X.astype(np.float64)}, "its output 'y' is FP64 [1, 4], and was FP32 [1, 4]"),
    ],
)
def test_answers_of_other_names_or_shapes_are_told(
    after: dict[str, Array], reason: str | None
) -> None:
    assert unlike({"y": X}, after) == reason
