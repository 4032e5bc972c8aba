"""What is written of arrays reads as what protobuf itself writes, an object a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.receiver.codecs.protobuf import message
from headrace.receiver.tfserving import written
from headrace.receiver.tfserving.results import Classes
from headrace.receiver.tfserving.tensors import to_array, write_tensor
from headrace.values import Array, DType

SCORES = np.array([[0.5, -0.0], [np.inf, 1e-40], [0, 3]], np.float32)


@pytest.mark.parametrize(
    "labels",
    [
        [["cat", "é" * 200]] * 3,
        [["", ""]] * 3,
        [["a", "b"], ["a", "b"], ["longer", ""]],
    ],
)
def test_classes_read_as_they_were(labels: list[list[str]]) -> None:
    text = written.classification_result(Classes(labels, SCORES))
    found = message("tensorflow.serving.ClassificationResult").FromString(text)
    rows = [[(one.label, one.score) for one in row.classes] for row in found.classifications]
    assert rows == Classes(labels, SCORES).pairs()


def test_classes_of_no_width_are_an_example_each() -> None:
    text = written.classification_result(Classes([[], []], np.zeros((2, 0), np.float32)))
    found = message("tensorflow.serving.ClassificationResult").FromString(text)
    assert [len(row.classes) for row in found.classifications] == [0, 0]


def test_values_read_as_they_were() -> None:
    text = written.regression_result(SCORES[:, 1])
    found = message("tensorflow.serving.RegressionResult").FromString(text)
    np.testing.assert_array_equal([one.value for one in found.regressions], SCORES[:, 1])


def _edges(dtype: DType) -> Array:
    limits = np.iinfo(dtype.numpy)
    powers = [1 << bits for bits in range(64)]
    numbers = {0, limits.min, limits.max, *powers, *(power - 1 for power in powers)}
    numbers |= {-number for number in numbers}
    return np.array([n for n in sorted(numbers) if limits.min <= n <= limits.max], dtype.numpy)


@pytest.mark.parametrize("name", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "UINT64"])
@pytest.mark.parametrize("repeated", [1, 500])
def test_integers_are_written_as_protobuf_writes_them(name: str, repeated: int) -> None:
    array = np.tile(_edges(DType[name]), repeated)
    tensor: Any = message("tensorflow.TensorProto").FromString(write_tensor(array))
    canonical = type(tensor)()
    canonical.CopyFrom(tensor)
    assert canonical.SerializeToString() == write_tensor(array)
    read = to_array("x", tensor)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_an_empty_tensor_has_a_shape_and_no_field() -> None:
    tensor = message("tensorflow.TensorProto").FromString(write_tensor(np.zeros((0, 3), np.int64)))
    assert [dim.size for dim in tensor.tensor_shape.dim] == [0, 3]
    assert not tensor.int64_val
