"""Which requests share a batch, and how padded outputs are cut back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.receiver.run.shapes import Shaper, crop
from headrace.settings import ModelSettings
from headrace.values import DType, Signature, TensorSpec

BERT = Signature(
    inputs=(
        TensorSpec("ids", DType.INT64, ("batch", "sequence")),
        TensorSpec("mask", DType.INT64, ("batch", "sequence")),
    ),
    outputs=(
        TensorSpec("hidden", DType.FP32, ("batch", "sequence", 4)),
        TensorSpec("pooled", DType.FP32, ("batch", 4)),
    ),
    batched=True,
)
BUCKETS = ModelSettings(buckets={"ids": {1: (8, 16)}, "mask": {1: (16, 8)}})


def tokens(length: int, rows: int = 1) -> dict[str, np.ndarray]:
    return {name: np.zeros((rows, length), np.int64) for name in ("ids", "mask")}


@given(length=st.integers(1, 16), rows=st.integers(1, 3))
def test_pads_up_to_the_next_bucket_whatever_the_rows(length: int, rows: int) -> None:
    fit = Shaper(BERT, BUCKETS).fit(tokens(length, rows))
    size = 8 if length <= 8 else 16
    assert fit.bucket == ((size,), (size,))
    assert fit.elements == 2 * size
    assert (fit.item_shapes is None) == (length == size)


def test_longer_than_every_bucket_keeps_its_own_shape() -> None:
    fit = Shaper(BERT, BUCKETS).fit(tokens(17))
    assert fit.bucket == ((17,), (17,))
    assert fit.item_shapes is None


def test_crops_only_the_axes_tied_to_a_padded_input() -> None:
    fit = Shaper(BERT, BUCKETS).fit(tokens(5))
    assert fit.crops == (("hidden", 1, 5),)
    outputs = {"hidden": np.arange(64.0).reshape(2, 8, 4), "pooled": np.ones((2, 4))}
    cut = crop(outputs, fit.crops)
    assert cut["hidden"].shape == (2, 5, 4)
    assert cut["pooled"].shape == (2, 4)
    np.testing.assert_array_equal(cut["hidden"], outputs["hidden"][:, :5])


@pytest.mark.parametrize("batched", [True, False])
def test_without_buckets_equal_shapes_meet_and_others_do_not(*, batched: bool) -> None:
    shaper = Shaper(Signature(BERT.inputs, BERT.outputs, batched), ModelSettings())
    assert shaper.fit(tokens(5)).bucket == shaper.fit(tokens(5)).bucket
    assert shaper.fit(tokens(5)).bucket != shaper.fit(tokens(6)).bucket
    assert (shaper.fit(tokens(5)).bucket == shaper.fit(tokens(5, rows=2)).bucket) == batched


def test_hostile_variety_of_shapes_is_not_remembered_for_ever() -> None:
    shaper = Shaper(BERT, ModelSettings())
    for length in range(5000):
        shaper.fit(tokens(length))
    assert len(shaper._seen) <= 4096
