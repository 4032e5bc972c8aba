"""Items that are tried fit a slot: what a model declares may be more than there is memory for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec
from tests.unit.engine.test_warmup import Counted, signature, warm

HUGE = (None, 10**6, 10**6)


def _ran(shape: Sequence[int | None], **settings: int) -> list[tuple[int, ...]]:
    model = Counted(signature(shape))
    warm(model, **settings)
    return model.lanes[0]


@pytest.mark.parametrize("shape", [HUGE, (10**6, 10**6)])
def test_an_input_that_no_slot_has_room_for_is_refused_before_it_is_made(
    shape: tuple[int | None, ...],
) -> None:
    model = Counted(signature(shape, batched=shape[0] is None))
    with pytest.raises(ModelLoadError, match=r"one row of its inputs takes 3814697 MiB.*slot_mib"):
        warm(model)
    assert model.lanes == [[]]


@pytest.mark.parametrize(
    "named", [{"warm_shapes": {"x": [[4], [2**20]]}}, {"buckets": {"x": {1: [4, 2**20]}}}]
)
def test_named_shapes_that_no_slot_has_room_for_are_refused(named: dict[str, Any]) -> None:
    with pytest.raises(ModelLoadError, match="takes 4 MiB, and a slot is of 1: raise slot_mib"):
        warm(Counted(signature((None, None))), slot_mib=1, **named)
    assert ModelSettings.model_validate({"slot_mib": 4, **named})
    warm(Counted(signature((None, None))), slot_mib=4, **named)


def test_strings_are_not_padded() -> None:
    texts = TensorSpec("x", DType.BYTES, (None, None))
    model = Counted(
        Signature((texts,), (TensorSpec("y", DType.BYTES, (None, None)),), batched=True)
    )
    with pytest.raises(ModelLoadError, match="buckets name input 'x', which is of strings"):
        warm(model, buckets={"x": {1: [8]}})


@pytest.mark.parametrize(
    ("buckets", "reason"),
    [
        ({"x": {0: [4, 8]}}, r"axis 0 of input 'x': .* 1 \(0 is the batch axis\)"),
        ({"x": {2: [8]}}, "axis 2 of input 'x'"),
        ({"x": {3: [8]}}, "axis 3 of input 'x'"),
        ({"x": {-1: [8]}}, "axis -1 of input 'x'"),
    ],
)
def test_buckets_are_of_axes_that_may_be_padded(buckets: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        warm(Counted(signature((None, None, 4))), buckets=buckets)


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        (DType.INT8, 300, "300 for input 'x', which is of INT8"),
        (DType.UINT8, -1, "-1 for input 'x', which is of UINT8"),
        (DType.INT64, 0.5, "0.5 for input 'x', which is of INT64"),
        (DType.FP32, 1e39, r"1e\+39 for input 'x', which is of FP32"),
        (DType.FP16, 70000, "70000 for input 'x', which is of FP16"),
    ],
)
def test_an_input_is_padded_with_what_it_can_hold(dtype: DType, value: float, reason: str) -> None:
    x, y = (TensorSpec(name, dtype, (None, None)) for name in "xy")
    model = Counted(Signature((x,), (y,), batched=True))
    with pytest.raises(ModelLoadError, match=f"pad_values has {reason}"):
        warm(model, buckets={"x": {1: [4]}}, pad_values={"x": value})
    warm(model, buckets={"x": {1: [4]}}, pad_values={"x": 0, "z": value})


@pytest.mark.parametrize(
    ("shape", "said", "reason"),
    [
        ([4], {}, r"\[4\] for input 'x', of which a row is \[any, 4\]"),
        ([], {}, r"\[\] for input 'x', of which a row is \[any, 4\]"),
        ([2, 5], {}, r"\[2, 5\] for input 'x'"),
        ([2, 4], {"batched": False}, r"\[2, 4\] for .* of which a request is \[any, any, 4\]"),
    ],
)
def test_shapes_to_warm_up_at_are_those_of_rows(
    shape: list[int], said: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelLoadError, match=f"warm_shapes has {reason}"):
        warm(Counted(signature((None, None, 4))), warm_shapes={"x": [shape]}, **said)


@pytest.mark.parametrize(
    ("dims", "named", "reason"),
    [
        ((None, 4), [5], r"\[5\] for input 'x', of which a row is \[4\]$"),
        ((None, 4), [1, 4], r"\[1, 4\] .* a row is \[4\]: leave the batch axis out, or say"),
        ((None, None, 4), [1, 16, 4], r"\[1, 16, 4\] .* a row is \[any, 4\]: leave the batch"),
    ],
)
def test_a_shape_that_fits_no_row_does_not_end_batching(
    dims: tuple[int | None, ...], named: list[int], reason: str
) -> None:
    """Two rows of it fail together, as rows do that may not share a run."""

    class Strict(Counted):
        def answer(self, x: Array) -> Array:
            if x.ndim != len(dims) or x.shape[-1] != dims[-1]:
                raise InferenceFailed("a wrong shape")
            return x

    with pytest.raises(ModelLoadError, match=f"warm_shapes has {reason}"):
        warm(Strict(signature(dims)), warm_shapes={"x": [named]})
    row = [16, 4][3 - len(dims) :]
    found, _ = warm(Strict(signature(dims)), warm_shapes={"x": [row]})
    assert found.signature.batched


class Mean(Counted):
    def answer(self, x: Array) -> Array:
        return np.asarray(x - x.mean(axis=0))


def test_what_turns_out_to_share_no_runs_is_warmed_up_with_requests_of_one_row() -> None:
    found, _ = warm(Mean(signature((None, None))), warm_shapes={"x": [[4], [8]]})
    assert not found.signature.batched
    assert found.shapes == ({"x": (1, 4)}, {"x": (1, 8)})


def test_shapes_of_what_shares_no_runs_may_be_of_requests_where_its_card_says_so() -> None:
    model = Mean(signature((None, 4)))
    with pytest.raises(ModelLoadError, match=r"\[4\] for .*, of which a request is \[any, 4\]$"):
        warm(model, warm_shapes={"x": [[4]]}, batched=False)
    found, _ = warm(model, warm_shapes={"x": [[3, 4]]}, batched=False)
    assert found.shapes == ({"x": (3, 4)},)


def test_a_row_is_no_request_where_requests_are_of_several() -> None:
    model = Counted(signature((3, 4), batched=False))
    with pytest.raises(ModelLoadError, match=r"a request is .*: name all axes, and say batched: f"):
        warm(model, warm_shapes={"x": [[4]]})


def test_a_past_may_be_empty() -> None:
    dims = {"past": (None, None, 4), "x": (None, None)}
    inputs = tuple(TensorSpec(name, DType.FP32, shape) for name, shape in dims.items())
    model = Counted(Signature(inputs, (TensorSpec("y", DType.FP32, (None, None)),), batched=True))
    found, _ = warm(model, warm_shapes={"past": [[0, 4]], "x": [[3]]}, max_batch=1)
    assert found.signature.batched
    assert found.shapes == ({"past": (0, 4), "x": (3,)},)


def test_buckets_of_another_model_are_told_and_no_more() -> None:
    """They may be the defaults of a server of several."""
    found, told = warm(Counted(signature((None, None))), buckets={"z": {1: [8]}})
    assert found.signature.batched
    assert any("buckets name input 'z'; the model has: x" in line for line in told)


def test_of_many_free_axes_no_guess_is_larger_than_a_slot() -> None:
    class Never(Counted):
        def answer(self, x: Array) -> Array:
            raise InferenceFailed("no")

    model = Never(signature((None,) * 6))
    found, told = warm(model, slot_mib=64)
    assert "no shape found" in told[-1]
    assert found.measurements == ()


def test_no_batch_is_larger_than_a_slot() -> None:
    rows = {shape[0] for shape in _ran((None, 2**18), slot_mib=3, max_batch=64)}
    assert max(rows) == 3
    assert {shape[0] for shape in _ran((None, 2**18), slot_mib=1, max_batch=64)} == {1, 2}
