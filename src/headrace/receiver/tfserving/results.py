"""What Classify and Regress make of a model's outputs, and which outputs those are.

A model has one signature here, so its outputs tell. Classes are the output ``classes``, or else the
only output of strings; without one the card's labels. Scores are the output ``scores``, or else the
only output of FP32 with the shape [batch, classes]. The value of a regression is the output
``outputs``, or else the only output there is, or the only one of FP32 with a value a row. The words
of what does not fit are TensorFlow Serving's.

Source: tensorflow_serving/servables/tensorflow/{classifier,regressor}.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from headrace.errors import InvalidInput
from headrace.receiver.catalog import ServedModel
from headrace.receiver.handover.messages import Reading
from headrace.receiver.tfserving.tensors import NAMES
from headrace.values import Array, DType, Signature, TensorSpec

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_MATRIX = 2


class ClassOutputs(NamedTuple):
    """The outputs that a classification is read from, one of which may be missing."""

    classes: str | None
    scores: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Those there are."""
        return tuple(name for name in self if name is not None)


class Classes(NamedTuple):
    """The labels of each example, and their scores [examples, classes], of FP32."""

    labels: list[list[str]]
    scores: Array

    def pairs(self) -> list[list[tuple[str, float]]]:
        """Label and score of each class of each example."""
        rows = zip(self.labels, self.scores.tolist(), strict=True)
        return [list(zip(labels, scores, strict=True)) for labels, scores in rows]


def class_outputs(signature: Signature) -> ClassOutputs:
    """Find what a classification is read from.

    Raises:
        InvalidInput: the model is no classifier.
    """
    classes = _choose(signature, "classes", lambda spec: spec.dtype is DType.BYTES)
    scores = _choose(
        signature,
        "scores",
        lambda spec: spec.dtype is DType.FP32 and len(spec.shape) == _MATRIX,
    )
    if classes is None and scores is None:
        raise InvalidInput(
            'Expected classification signature outputs to contain at least one of "classes" or '
            f'"scores". Signature was: {_described(signature)}; a classifier has one output of '
            "FP32 with the shape [batch, classes], or outputs of these names"
        )
    for spec, word, dtype in ((classes, "classes", DType.BYTES), (scores, "scores", DType.FP32)):
        if spec is None:
            continue
        if len(spec.shape) != _MATRIX:
            raise InvalidInput(
                "Expected Tensor shape: [batch_size num_classes] but got "
                f"{_shape(spec.wire_shape)}: output {spec.name!r}"
            )
        if spec.dtype is not dtype:
            raise InvalidInput(
                f"Expected {word} Tensor of {NAMES[dtype]}. Got: {NAMES[spec.dtype]}"
            )
    return ClassOutputs(*(None if spec is None else spec.name for spec in (classes, scores)))


def class_reading(served: ServedModel, found: ClassOutputs, examples: int) -> Reading:
    """Say how the classes of so many examples are read."""
    return Reading(
        examples=examples, classes=found.classes, scores=found.scores, labels=served.labels
    )


def read_classes(reading: Reading, outputs: Mapping[str, Array]) -> Classes:
    """Read the classes of each example, in the order of the outputs.

    Raises:
        InvalidInput: the outputs have other rows than the request, or do not go together.
    """
    examples = reading.examples
    classes = None if reading.classes is None else outputs[reading.classes]
    scores = None if reading.scores is None else outputs[reading.scores]
    for word, array in (("classes", classes), ("scores", scores)):
        if array is not None and len(array) != examples:
            raise InvalidInput(
                f"Expected {word} output batch size of {examples}. Got: {len(array)}"
            )
    widths = [array.shape[1] for array in (classes, scores) if array is not None]
    if len(set(widths)) > 1:
        raise InvalidInput(
            f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}"
        )
    width = widths[0]
    if scores is None:
        scores = np.zeros((examples, width), np.float32)
    if classes is None:
        names = [*reading.labels[:width], *[""] * (width - len(reading.labels))]
        labels = [names] * examples
    else:
        labels = [[_text(label) for label in row] for row in classes.tolist()]
    return Classes(labels, scores)


def regress_output(signature: Signature) -> str:
    """Find what a regression is read from.

    Raises:
        InvalidInput: the model has no output, or no single one, of a value a row.
    """
    if len(signature.outputs) == 1:
        spec: TensorSpec | None = signature.outputs[0]
    else:
        spec = _choose(
            signature, "outputs", lambda spec: spec.dtype is DType.FP32 and _is_column(spec.shape)
        )
    if spec is None:
        raise InvalidInput(
            f"Expected one output Tensor. Signature was: {_described(signature)}; a regressor has "
            "one output of FP32 with the shape [batch] or [batch, 1], or one called outputs"
        )
    if not _is_column(spec.shape):
        raise _no_column(spec.wire_shape)
    if spec.dtype is not DType.FP32:
        raise InvalidInput(f"Expected output Tensor of DT_FLOAT.  Got: {NAMES[spec.dtype]}")
    return spec.name


def regressions(array: Array, examples: int) -> Array:
    """Read the value of each example: [examples], of FP32.

    Raises:
        InvalidInput: the output has another shape, or other rows than the request.
    """
    if not _is_column(array.shape):
        raise _no_column(array.shape)
    if len(array) != examples:
        raise InvalidInput(
            f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        )
    return array.ravel()


def _choose(
    signature: Signature, name: str, fits: Callable[[TensorSpec], bool]
) -> TensorSpec | None:
    """The output of that name, or else the only one that fits."""
    named = signature.output(name)
    if named is not None:
        return named
    fitting = [spec for spec in signature.outputs if fits(spec)]
    return fitting[0] if len(fitting) == 1 else None


def _is_column(shape: tuple[object, ...]) -> bool:
    """Whether it is [batch] or [batch, 1]; what is free may turn out to be 1."""
    if len(shape) == _MATRIX:
        return shape[1] == 1 or not isinstance(shape[1], int)
    return len(shape) == 1


def _no_column(shape: tuple[int, ...]) -> InvalidInput:
    return InvalidInput(
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
        f"{_shape(shape)}"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join('?' if dim < 0 else str(dim) for dim in shape)}]"


def _described(signature: Signature) -> str:
    return ", ".join(
        f"{spec.name} {NAMES[spec.dtype]} {_shape(spec.wire_shape)}" for spec in signature.outputs
    )


def _text(label: object) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
