"""Bytes made numbers: what clients see of a model, and what cannot be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.normalised import adapt
from headrace.errors import ModelLoadError
from headrace.normalise import Normalised, plan
from headrace.settings import ModelSettings
from headrace.values import Array, Dim, DType, Signature, TensorSpec


def _signature(*shape: Dim, dtype: DType = DType.FP32) -> Signature:
    rest = TensorSpec("ids", DType.INT64, (None, 2))
    outputs = (TensorSpec("y", dtype, shape),)
    return Signature((TensorSpec("image", dtype, shape), rest), outputs, batched=True)


class Echo:
    """Answers with its image."""

    fixed_sizes, precision, integer_bits = True, "f32", 64
    signature = _signature(None, 3, 4, 5)

    def instance(self) -> Echo:
        return self

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        assert inputs["image"].flags.c_contiguous
        assert inputs["image"].dtype == np.float32
        return {"y": inputs["image"]}


def test_a_card_that_asks_for_nothing_leaves_the_model_as_it_is() -> None:
    model = Echo()
    assert adapt(model, ModelSettings()) is model


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ({}, (None, 3, 4, 5)),
        ({"channels_last": True}, (None, 4, 5, 3)),
        ({"channels_last": True, "axis": 3}, (None, 3, 4, 5)),
    ],
)
def test_clients_send_bytes_in_their_own_layout(said: Any, shape: tuple[Dim, ...]) -> None:
    seen, _ = plan(_signature(None, 3, 4, 5), {"image": Normalised.model_validate(said)})
    assert seen.inputs[0] == TensorSpec("image", DType.UINT8, shape)
    assert seen.inputs[1].dtype is DType.INT64
    assert seen.outputs[0].shape == (None, 3, 4, 5)
    assert seen.batched


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ({"mean": [1, 2, 3]}, (None, 3, None, None)),
        ({"mean": [1, 2, 3], "std": [2], "channels_last": True}, (None, None, None, 3)),
        ({"std": [1, 2], "axis": 3}, (None, None, None, 2)),
        ({"mean": [1]}, (None, None, None, None)),
        ({"mean": [1], "axis": 0}, (None, None, None, None)),
    ],
)
def test_as_many_channels_as_values_are_sent_where_the_model_takes_any(
    said: Any, shape: tuple[Dim, ...]
) -> None:
    seen, _ = plan(_signature(None, None, None, None), {"image": Normalised.model_validate(said)})
    assert seen.inputs[0].shape == shape


@given(
    scale=st.floats(0.001, 2),
    mean=st.lists(st.floats(-300, 300), min_size=3, max_size=3) | st.tuples(st.floats(-2, 2)),
    std=st.lists(st.floats(0.01, 300), min_size=3, max_size=3) | st.tuples(st.floats(0.1, 2)),
    last=st.booleans(),
)
def test_what_the_model_gets_is_what_the_card_says(
    scale: float, mean: list[float], std: list[float], last: bool
) -> None:
    said = {"scale": scale, "mean": mean, "std": std, "channels_last": last}
    model = adapt(Echo(), ModelSettings.model_validate({"normalise": {"image": said}}))
    sent = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 5), np.uint8)
    expected = (sent * scale - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    given_ = np.ascontiguousarray(np.moveaxis(sent, 1, -1)) if last else sent
    before = given_.copy()
    made = model.instance().run({"image": given_, "ids": np.ones((2, 2), np.int64)})["y"]
    # Times a factor, and an offset added: where both are near, 32 bits have lost some of it.
    least = float(np.abs(np.reshape(mean, -1) / np.reshape(std, -1)).max())
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6 * max(least, 1))
    assert np.array_equal(given_, before)


@pytest.mark.parametrize(
    ("name", "said", "problem"),
    [
        ("picture", {}, "the model has no input 'picture'; it has image, ids"),
        ("ids", {}, "input 'ids' is INT64, and only floats are made of bytes"),
        ("image", {"axis": 4}, "has 4 axes, and no axis 4"),
        ("image", {"mean": [1, 2]}, "mean of input 'image' has 2 values, and axis 1 is of 3"),
        ("image", {"axis": 0, "mean": [1, 2]}, "axis 0 of input 'image' is that of the batch"),
        ("image", {"axis": 0, "channels_last": True}, "`axis` should be that of its channels"),
        ("image", {"axis": 2, "std": [1, 2, 3]}, "std of .* has 3 values, and axis 2 is of 4"),
    ],
)
def test_what_does_not_fit_the_model_is_told_with_the_fix(
    name: str, said: Any, problem: str
) -> None:
    with pytest.raises(ModelLoadError, match=problem):
        plan(_signature(None, 3, 4, 5), {name: Normalised.model_validate(said)})
