"""Models with state as the engine sees them: what the card may say, and rows where they belong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from headrace.engine.stateful import StatefulInstance, adapt, plan
from headrace.engine.warmup import warm_up
from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings, Sequence
from headrace.values import Array, Dim, DType, Signature, TensorSpec


def _spec(name: str, *shape: Dim, dtype: DType = DType.FP32) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


INPUTS = (
    _spec("x", None, 3),
    _spec("state", 2, None, 3),
    _spec("sr", dtype=DType.INT64),
)
OUTPUTS = (_spec("y", None, 3), _spec("stateN", None, None, None))
SIGNATURE = Signature(INPUTS, OUTPUTS, batched=False)
STATE = {"input": "state", "output": "stateN", "batch_axis": 1}


def _card(**keys: Any) -> Sequence:
    return Sequence.model_validate({"state": [STATE], "constants": {"sr": 16000}} | keys)


class Adder:
    """Two memories a row: the sum of everything so far, and the input before; y is their sum."""

    signature = SIGNATURE
    fixed_sizes, precision, integer_bits = False, "f32", 64

    def instance(self) -> Adder:
        return self

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        x, state, sr = (inputs[spec.name] for spec in INPUTS)
        assert state.flags.c_contiguous
        assert state.shape == (2, len(x), 3)
        assert (sr.shape, str(sr.dtype), sr.item()) == ((), "int64", 16000)
        total = state[0] + x
        return {"y": total + state[1], "stateN": np.stack([total, x])}


def test_a_model_whose_card_names_no_state_is_left_as_it_is() -> None:
    model = Adder()
    assert adapt(model, ModelSettings()) is model


def test_rows_are_first_and_constants_gone() -> None:
    signature = plan(SIGNATURE, _card()).signature
    assert signature.batched
    assert [(s.name, s.shape) for s in signature.inputs] == [
        ("x", (None, 3)),
        ("state", (None, 2, 3)),
    ]
    assert [(s.name, s.shape) for s in signature.outputs] == [
        ("y", (None, 3)),
        ("stateN", (None, 2, 3)),
    ]


def test_each_row_keeps_its_own_state() -> None:
    random = np.random.default_rng(0)
    x = random.random((5, 3), np.float32)
    state = random.random((5, 2, 3), np.float32)
    instance = adapt(Adder(), ModelSettings(sequence=_card())).instance()
    outputs = instance.run({"x": x, "state": state})
    np.testing.assert_array_equal(outputs["y"], state[:, 0] + x + state[:, 1])
    np.testing.assert_array_equal(outputs["stateN"], np.stack([state[:, 0] + x, x], 1))


def test_it_is_warmed_up_in_batches() -> None:
    settings = ModelSettings(sequence=_card(), max_batch=8, instances=1)
    model = adapt(Adder(), settings)
    warm = warm_up(model, [model.instance()], settings, lambda _: None)
    assert warm.signature.batched
    assert warm.batch_sizes[:3] == (1, 2, 3)
    assert {point.elements for point in warm.measurements} == {9}


def test_a_model_of_one_row_keeps_its_layout() -> None:
    inputs = (_spec("x", 1, 3), _spec("state", 2, 1, 3))
    outputs = (_spec("y", 1, 3), _spec("stateN", 2, 1, 3))
    signature = Signature(inputs, outputs, batched=False)
    planned = plan(signature, _card(constants={}))
    assert planned.signature == signature
    assert planned.moved_in == planned.moved_out == ()


def test_a_model_that_may_not_batch_has_one_row_of_state() -> None:
    planned = plan(SIGNATURE, _card(), allowed=False)
    assert not planned.signature.batched
    assert planned.signature.inputs[1].shape == (2, 1, 3)
    assert planned.moved_in == ()


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        ((), 7, np.array(7, np.int64)),
        ((1,), 7, np.array([7], np.int64)),
        ((2, 2), 7, np.full((2, 2), 7, np.int64)),
        ((3,), [1, 2, 3], np.array([1, 2, 3], np.int64)),
        ((None,), [1, 2, 3], np.array([1, 2, 3], np.int64)),
    ],
)
def test_constants_take_the_shape_of_their_input(
    shape: tuple[Dim, ...], value: object, expected: Array
) -> None:
    signature = Signature(
        (*INPUTS[:2], _spec("sr", *shape, dtype=DType.INT64)), OUTPUTS, batched=False
    )
    constant = plan(signature, _card(constants={"sr": value})).constants["sr"]
    assert (constant.shape, constant.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(constant, expected)


def test_a_constant_with_rows_is_given_once_for_each() -> None:
    signature = Signature(
        (*INPUTS[:2], _spec("sr", None, dtype=DType.INT64)), OUTPUTS, batched=False
    )
    seen: list[Array] = []

    class Looks(Adder):
        def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            seen.append(inputs["sr"])
            return super().run({**inputs, "sr": np.array(16000)})

    StatefulInstance(Looks(), plan(signature, _card())).run(
        {"x": np.zeros((4, 3), np.float32), "state": np.zeros((4, 2, 3), np.float32)}
    )
    np.testing.assert_array_equal(seen[0], [16000] * 4)


def test_an_output_without_the_named_axis_fails_its_batch() -> None:
    class Flat(Adder):
        def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            return {**super().run(inputs), "stateN": np.zeros(4)}

    instance = StatefulInstance(Flat(), plan(SIGNATURE, _card()))
    with pytest.raises(InferenceFailed, match="no axis 1"):
        instance.run({"x": np.zeros((1, 3), "f"), "state": np.zeros((1, 2, 3), "f")})


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"state": [STATE | {"input": "memory"}]}, "no 'memory' there; it has x, state, sr"),
        ({"state": [STATE | {"output": "memory"}]}, "no 'memory' there; it has y, stateN"),
        ({"state": [STATE | {"batch_axis": 0}]}, r"only its batch_axis \(0\) may be free"),
        ({"constants": {"rate": 1}}, "no 'rate' there"),
        ({"constants": {"sr": 1.5}}, "is 1.5, which is no INT64"),
        ({"constants": {"sr": 2**64}}, "is 18446744073709551616, which is no INT64"),
        ({"constants": {"sr": [1, 2]}}, r"has shape \[2\], the model wants \[\]"),
        ({"constants": {"sr": 1, "state": 1}}, "'state' is state and constant"),
        ({"constants": {"sr": 1, "x": 1}}, "every input is state or constant"),
        ({"state": [STATE, {"input": "x", "output": "y"}]}, "every input is state or constant"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(card: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        plan(SIGNATURE, _card(**card))


@pytest.mark.parametrize(
    ("dtype", "initial"), [(DType.INT64, 0.5), (DType.UINT8, -1), (DType.FP16, 1e9)]
)
def test_state_that_cannot_begin_as_the_card_says_is_refused(dtype: DType, initial: float) -> None:
    inputs = (INPUTS[0], _spec("state", 2, None, 3, dtype=dtype), INPUTS[2])
    outputs = (OUTPUTS[0], _spec("stateN", None, None, None, dtype=dtype))
    signature = Signature(inputs, outputs, batched=False)
    assert plan(signature, _card(state=[STATE | {"initial": 1}]))
    with pytest.raises(ModelLoadError, match=f"initial of state 'state' is .* no {dtype.value}"):
        plan(signature, _card(state=[STATE | {"initial": initial}]))


@pytest.mark.parametrize("dtype", [DType.INT64, DType.BYTES])
def test_state_that_changes_its_kind_is_refused(dtype: DType) -> None:
    outputs = (OUTPUTS[0], _spec("stateN", None, None, None, dtype=dtype))
    with pytest.raises(ModelLoadError, match="both must be the same, and numbers"):
        plan(Signature(INPUTS, outputs, batched=False), _card())


def test_a_model_of_nothing_but_state_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="every output is state"):
        plan(Signature(INPUTS, OUTPUTS[1:], batched=False), _card())


def test_bytes_are_no_constant() -> None:
    inputs = (*INPUTS[:2], _spec("sr", dtype=DType.BYTES))
    with pytest.raises(ModelLoadError, match="only numbers can be one"):
        plan(Signature(inputs, OUTPUTS, batched=False), _card())
