"""Which axes of outputs follow which padded axes of inputs: a wrong one cuts what a client sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from headrace.engine.ties import tie
from headrace.errors import InferenceFailed
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec

Answer = Callable[[Mapping[str, Array]], Array]
Dims = Sequence[int | str | None]


class Lane:
    """Computes what it is told, and counts how often."""

    def __init__(self, answer: Answer) -> None:
        self.runs = 0
        self._answer = answer

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self.runs += 1
        try:
            return {"y": self._answer(inputs)}
        except ValueError as error:  # shapes that do not go together
            raise InferenceFailed(str(error)) from error


def tied(
    inputs: Mapping[str, Dims],
    output: Dims,
    buckets: Mapping[str, Mapping[int, Sequence[int]]],
    answer: Answer,
) -> tuple[tuple[int | str | None, ...], Lane]:
    """The output's axes at last, for inputs as large as their largest buckets."""
    signature = Signature(
        tuple(TensorSpec(name, DType.FP32, tuple(dims)) for name, dims in inputs.items()),
        (TensorSpec("y", DType.FP32, tuple(output)),),
        batched=True,
    )
    settings = ModelSettings.model_validate({"buckets": buckets})
    item = {
        name: tuple(
            dim if isinstance(dim, int) else max(buckets.get(name, {}).get(axis, (5,)))
            for axis, dim in enumerate(dims)
            if axis
        )
        for name, dims in inputs.items()
    }
    lane = Lane(answer)
    found = tie(signature, lane, item, settings)
    names = {
        dim: f"{spec.name}.{axis}"
        for spec in found.inputs
        for axis, dim in enumerate(spec.shape)
        if axis and isinstance(dim, str)
    }
    last = [dim for dim in found.outputs[0].shape if not isinstance(dim, int)]
    return tuple(None if dim is None else names.get(dim) for dim in last), lane


def same(inputs: Mapping[str, Array]) -> Array:
    return inputs["x"]


@pytest.mark.parametrize("names", [("n", "n"), ("n", "m"), (None, None)])
def test_a_mask_that_may_be_longer_than_the_words_but_not_shorter_is_seen_beside_them(
    names: Dims,
) -> None:
    def looked_up(inputs: Mapping[str, Array]) -> Array:
        if inputs["mask"].shape[1] < inputs["x"].shape[1]:
            raise ValueError
        return inputs["x"]

    dims = {"x": ("N", names[0]), "mask": ("N", names[1])}
    buckets = {name: {1: (4, 8)} for name in dims}
    assert tied(dims, ("N", names[0]), buckets, looked_up)[0] == (None, "x.1")


@pytest.mark.parametrize("names", [("H", "W"), (None, None), ("n", "n")])
def test_two_axes_of_the_same_buckets_are_told_apart(names: Dims) -> None:
    buckets = {"x": {2: (4, 8), 3: (4, 8)}}
    dims = ("N", 1, *names)
    assert tied({"x": dims}, dims, buckets, same)[0] == (None, "x.2", "x.3")

    def turned(inputs: Mapping[str, Array]) -> Array:
        return inputs["x"].swapaxes(2, 3)

    assert tied({"x": dims}, dims, buckets, turned)[0] == (None, "x.3", "x.2")


def test_of_two_inputs_the_one_that_is_followed_counts_and_not_the_last() -> None:
    def answer(inputs: Mapping[str, Array]) -> Array:
        return np.asarray(inputs["src"] + inputs["tgt"].mean(axis=1, keepdims=True))

    inputs = {"src": ("N", None), "tgt": ("N", None)}
    buckets = {"src": {1: (8, 16)}, "tgt": {1: (8, 16)}}
    assert tied(inputs, ("N", None), buckets, answer)[0] == (None, "src.1")


def test_axes_that_a_model_wants_of_one_size_are_tried_together() -> None:
    def answer(inputs: Mapping[str, Array]) -> Array:
        words = inputs["ids"] * inputs["mask"] + inputs["types"]
        heard = inputs["sound"] * inputs["voiced"]
        return np.asarray(words[:, :, None] + heard[:, None, :])

    names = ("voiced", "ids", "sound", "mask", "types")
    inputs = dict.fromkeys(names, ("N", None))
    buckets = {name: {1: (8, 16)} for name in names}
    found, lane = tied(inputs, ("N", None, None), buckets, answer)
    assert found[1] in {"ids.1", "mask.1", "types.1"}
    assert found[2] in {"sound.1", "voiced.1"}
    assert lane.runs < 30


@pytest.mark.parametrize("size", [1, 16])
def test_an_axis_of_one_bucket_is_tried_with_less_or_with_more(size: int) -> None:
    found, _ = tied({"x": ("N", None)}, ("N", None), {"x": {1: (size,)}}, same)
    assert found == (None, "x.1")


def test_an_output_that_follows_nothing_is_not_cut_whatever_the_file_calls_it() -> None:
    def answer(inputs: Mapping[str, Array]) -> Array:
        return np.zeros((len(inputs["x"]), 8), np.float32)

    assert tied({"x": ("N", "L")}, ("N", "L"), {"x": {1: (4, 8)}}, answer)[0] == (None, None)


def test_what_cannot_be_tried_is_as_the_file_says() -> None:
    def answer(inputs: Mapping[str, Array]) -> Array:
        if inputs["x"].shape[1] != 8:
            raise InferenceFailed("only 8")
        return inputs["x"]

    buckets = {"x": {1: (8,)}}
    assert tied({"x": ("N", "L")}, ("N", "L"), buckets, answer)[0] == (None, "x.1")
    assert tied({"x": ("N", None)}, ("N", None), buckets, answer)[0] == (None, None)


def test_many_axes_do_not_take_for_ever() -> None:
    def answer(inputs: Mapping[str, Array]) -> Array:
        return np.asarray(sum(inputs.values()))

    names = [f"x{number}" for number in range(14)]
    inputs = dict.fromkeys(names, ("N", None))
    found, lane = tied(inputs, ("N", None), {name: {1: (8,)} for name in names}, answer)
    assert found[1] == "x0.1"
    assert lane.runs < 150
