"""Which outputs Classify and Regress are read from, and what is said of those that do not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput
from headrace.receiver.handover.messages import Reading
from headrace.receiver.tfserving import results as tfserving_results
from headrace.receiver.tfserving.results import ClassOutputs
from headrace.values import DType, Signature, TensorSpec
from tests.contract.echo import serve

Outputs = dict[str, tuple[DType, tuple[int | None, ...]]]
SCORES = (DType.FP32, (None, 3))
NAMES = (DType.BYTES, (None, 3))
IDS = (DType.INT64, (None,))


def signature(outputs: Outputs) -> Signature:
    specs = tuple(TensorSpec(name, dtype, shape) for name, (dtype, shape) in outputs.items())
    return Signature((), specs, batched=True)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"y": SCORES}, (None, "y")),
        ({"y": (DType.FP32, (None, None))}, (None, "y")),
        ({"y": SCORES, "names": NAMES}, ("names", "y")),
        ({"names": NAMES, "ids": IDS}, ("names", None)),
        ({"scores": SCORES, "logits": SCORES}, (None, "scores")),
        ({"classes": NAMES, "scores": SCORES, "logits": SCORES, "more": NAMES},
         ("classes", "scores")),
        ({"y": SCORES, "features": (DType.FP32, (None, 7, 7))}, (None, "y")),
    ],
)  # fmt: skip
def test_classifiers_are_known_by_their_outputs(
    outputs: Outputs, expected: tuple[str | None, str | None]
) -> None:
    assert tfserving_results.class_outputs(signature(outputs)) == expected


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"ids": IDS}, 'at least one of "classes" or "scores".*ids DT_INT64'),
        ({"a": SCORES, "b": SCORES}, r"a DT_FLOAT \[\?,3\], b DT_FLOAT \[\?,3\]; a classifier has"),
        ({"scores": (DType.FP32, (None,))}, r"num_classes\] but got \[\?\]: output 'scores'"),
        ({"names": (DType.BYTES, (None,))}, r"num_classes\] but got \[\?\]: output 'names'"),
        ({"scores": (DType.FP64, (None, 3))}, "scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"classes": (DType.INT64, (None, 3))}, "classes Tensor of DT_STRING. Got: DT_INT64"),
    ],
)
def test_other_models_are_no_classifiers(outputs: Outputs, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        tfserving_results.class_outputs(signature(outputs))


MODEL = serve("m", [], [])
NUMBERS = np.array([[0.25, 0.5], [1, 0]], np.float32)
WORDS = np.array([[b"a", b"\xff"], [b"c", b"d"]], object)


def test_labels_are_the_models_words_or_its_cards_or_none() -> None:
    both = Reading(examples=2, classes="c", scores="s")
    outputs = {"c": WORDS, "s": NUMBERS}
    assert tfserving_results.read_classes(both, outputs).pairs() == [
        [("a", 0.25), ("\ufffd", 0.5)],
        [("c", 1.0), ("d", 0.0)],
    ]
    for labels, expected in (
        ((), ["", ""]),
        (("cat",), ["cat", ""]),
        (("cat", "dog", "fish"), ["cat", "dog"]),
    ):
        served = replace(MODEL, labels=labels)
        reading = tfserving_results.class_reading(served, ClassOutputs(None, "s"), 2)
        found = tfserving_results.read_classes(reading, outputs)
        assert found.labels == [expected, expected]
    found = tfserving_results.read_classes(Reading(examples=2, classes="c"), outputs)
    assert found.pairs()[1] == [("c", 0.0), ("d", 0.0)]


@pytest.mark.parametrize(
    ("outputs", "examples", "words"),
    [
        ({"c": WORDS, "s": NUMBERS}, 3, "Expected classes output batch size of 3. Got: 2"),
        ({"c": WORDS[:1], "s": NUMBERS}, 1, "Expected scores output batch size of 1. Got: 2"),
        ({"c": WORDS[:, :1], "s": NUMBERS}, 2, r"match in dim_size\(1\). Got 1 vs. 2"),
    ],
)
def test_outputs_that_do_not_go_together(
    outputs: dict[str, Any], examples: int, words: str
) -> None:
    reading = Reading(examples=examples, classes="c", scores="s")
    with pytest.raises(InvalidInput, match=words):
        tfserving_results.read_classes(reading, outputs)


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": (DType.FP32, (None,))},
        {"y": (DType.FP32, (None, 1))},
        {"y": (DType.FP32, (None, None))},
        {"y": (DType.FP32, (None, 1)), "ids": IDS, "scores": SCORES},
    ],
)
def test_regressors_are_known_by_their_outputs(outputs: Outputs) -> None:
    assert tfserving_results.regress_output(signature(outputs)) == "y"
    two = {**outputs, "outputs": (DType.FP32, (None,))}
    assert tfserving_results.regress_output(signature(two)) == "outputs"


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"y": SCORES}, r"\[batch_size, 1\] but got \[\?,3\]"),
        ({"y": (DType.FP32, ())}, r"but got \[\]"),
        ({"y": IDS}, "Tensor of DT_FLOAT.  Got: DT_INT64"),
        ({"a": SCORES, "b": IDS}, "Expected one output Tensor. Signature was: a DT_FLOAT"),
        ({"a": (DType.FP32, (None,)), "b": (DType.FP32, (None, 1))}, "Expected one output Tensor"),
        ({"outputs": SCORES, "b": IDS}, r"but got \[\?,3\]"),
    ],
)
def test_other_models_are_no_regressors(outputs: Outputs, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        tfserving_results.regress_output(signature(outputs))


def test_regressions_are_a_value_a_row() -> None:
    assert tfserving_results.regressions(NUMBERS[:, 0], 2).tolist() == [0.25, 1]
    assert tfserving_results.regressions(NUMBERS[:, :1], 2).tolist() == [0.25, 1]
    with pytest.raises(InvalidInput, match="batch size: 3 vs"):
        tfserving_results.regressions(NUMBERS[:, 0], 3)
    with pytest.raises(InvalidInput, match=r"but got \[2,2\]"):
        tfserving_results.regressions(NUMBERS, 2)
