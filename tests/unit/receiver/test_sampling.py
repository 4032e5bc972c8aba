"""What is taken of a request: one row as it ran, in arrays of its own."""

from __future__ import annotations

import numpy as np

from headrace.receiver.run.sampling import sample

X = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_one_row_of_many_is_taken_and_outlives_the_slot() -> None:
    outputs = {"y": np.arange(10).reshape(5, 2)}
    taken = sample({"x": X}, outputs, 2, {}, {})
    outputs["y"][:] = 0
    assert taken.inputs["x"].tolist() == [[0, 1]]
    assert taken.outputs["y"].tolist() == [[4, 5]]


def test_an_input_is_padded_as_it_ran() -> None:
    names = np.array([[b"a"], [b"b"]], object)
    shapes = {"x": (4,), "s": (1,)}
    taken = sample({"x": X, "s": names}, {"y": X}, 0, shapes, {"x": -1})
    assert taken.inputs["x"].tolist() == [[0, 1, -1, -1]]
    assert taken.inputs["x"].dtype == np.float32
    assert taken.inputs["s"].tolist() == [[b"a"]]


def test_of_a_model_that_does_not_batch_all_is_taken() -> None:
    taken = sample({"x": X, "n": np.array(3)}, {"y": X}, None, {}, {})
    assert taken.inputs["x"].tolist() == X.tolist()
    assert taken.inputs["n"].shape == ()
    assert not np.shares_memory(taken.outputs["y"], X)


def test_its_size_is_that_of_its_tensors_and_texts() -> None:
    taken = sample({"s": np.array([[b"abc"]], object)}, {"y": X}, 0, {}, {})
    assert taken.size_bytes == 3 + 8
