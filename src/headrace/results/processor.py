"""The result processor of one model: steps from its card, then what the request asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from headrace.errors import InvalidInput, ModelLoadError
from headrace.results import steps
from headrace.results.steps import Step
from headrace.settings import ResultStep
from headrace.values import Array, DType, RequestedOutput, Signature, TensorSpec

_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
_NOT_NUMBERS = frozenset({DType.BOOL, DType.BYTES})
# Classes of all rows of an answer: each is text, made in Python (1 µs) while everybody waits.
_MOST_CLASSES = 10_000


class Processor:
    """Turns a run's outputs into a response's, for one request at a time.

    ``signature`` is what clients see: the model's, with its outputs as the steps leave them.
    """

    __slots__ = ("_axes", "_best", "_labels", "_steps", "signature")

    def __init__(
        self,
        signature: Signature,
        chains: Mapping[str, tuple[Step, ...]],
        best: Mapping[str, int],
        labels: Mapping[str, tuple[bytes, ...]],
    ) -> None:
        self.signature = signature
        self._steps = dict(chains)
        self._best = dict(best)
        self._labels = dict(labels)
        self._axes = 1 if signature.batched else 0

    def run(
        self, outputs: Mapping[str, Array], requested: Sequence[RequestedOutput]
    ) -> Mapping[str, Array]:
        """Return the outputs asked for, in that order; all of them when none is named.

        ``outputs`` are the model's, rows on axis 0 where it is batched. Without steps and without a
        choice they are returned as they are.

        Raises:
            InvalidInput: an output is unknown, or is not made of numbers and was to be classified;
                or there are too many classes to tell.
        """
        if not requested and not self._steps and not self._best:
            return outputs
        for want in requested:
            self._spec(want)
        result, classes = {}, 0
        for want in requested or map(RequestedOutput, outputs):
            tensor, k = self._numbers(want, outputs)
            if k is not None:
                classes += min(k, tensor.shape[-1]) * math.prod(tensor.shape[:-1])
                _check_many(classes)
                tensor = steps.top_k(tensor, k, self._labels.get(want.name, ()))
            result[want.name] = tensor
        return result

    def check(self, requested: Sequence[RequestedOutput], rows: int) -> None:
        """Refuse what ``run`` would refuse, as far as is known before the model has run for it.

        Raises:
            InvalidInput: as ``run``.
        """
        classes = sum(rows * self._classes(want) for want in requested)
        if not requested:
            classes = sum(rows * self._classes(RequestedOutput(name)) for name in self._best)
        _check_many(classes)

    def _numbers(
        self, want: RequestedOutput, outputs: Mapping[str, Array]
    ) -> tuple[Array, int | None]:
        """An output as its steps leave it, and how many of its last axis are to be told."""
        tensor = outputs[want.name]
        for step in self._steps.get(want.name, ()):
            tensor = step(tensor)
        if want.classification is None:
            return tensor, self._best.get(want.name)
        if tensor.size:
            tensor = tensor.reshape(*tensor.shape[: self._axes], -1)
        return tensor, want.classification

    def _classes(self, want: RequestedOutput) -> int:
        """How many classes of each row are to be told; 0 where that is not known yet."""
        spec = self._spec(want)
        if want.classification is None and want.name not in self._best:
            return 0
        size = _size(spec, batched=bool(self._axes))
        return 0 if size is None else min(want.classification or size, size)

    def _spec(self, want: RequestedOutput) -> TensorSpec:
        spec = self.signature.output(want.name)
        if spec is None:
            names = ", ".join(output.name for output in self.signature.outputs)
            raise InvalidInput(f"unknown output {want.name!r}; outputs: {names}")
        if want.classification is not None:
            if spec.dtype in _NOT_NUMBERS:
                raise InvalidInput(
                    f"output {want.name!r} is {spec.dtype.value}: only numbers can be classified"
                )
            if want.classification < 1:
                raise InvalidInput(
                    f"output {want.name!r}: classification should be at least 1, not "
                    f"{want.classification}"
                )
        return spec


class _Rule(NamedTuple):
    """What a step needs of an output and what it makes of it."""

    step: Step | None  # None: the last of all, which ``Processor`` does itself, to count
    becomes: Callable[[TensorSpec, ResultStep], TensorSpec]
    floats_only: bool
    classes: bool  # whether the last axis must be one of classes, apart from the batch axis


def _same(spec: TensorSpec, _: ResultStep) -> TensorSpec:
    return spec


def _without_last_axis(spec: TensorSpec, _: ResultStep) -> TensorSpec:
    return replace(spec, dtype=DType.INT64, shape=spec.shape[:-1])


def _best_of_last_axis(spec: TensorSpec, step: ResultStep) -> TensorSpec:
    last = spec.shape[-1]
    size = min(step.k, last) if isinstance(last, int) else None
    return replace(spec, dtype=DType.BYTES, shape=(*spec.shape[:-1], size))


_RULES: dict[str, _Rule] = {
    "softmax": _Rule(steps.softmax, _same, floats_only=True, classes=True),
    "sigmoid": _Rule(steps.sigmoid, _same, floats_only=True, classes=False),
    "argmax": _Rule(steps.argmax, _without_last_axis, floats_only=False, classes=True),
    "top_k": _Rule(None, _best_of_last_axis, floats_only=False, classes=True),
}


def build(
    signature: Signature, wanted: Sequence[ResultStep], labels: Sequence[str] = ()
) -> Processor:
    """Make the processor of a model: its signature, its card's steps in order, its class names.

    Raises:
        ModelLoadError: a step names no output or does not fit it; the message names the fix.
    """
    names = tuple(label.encode() for label in labels)
    specs = {spec.name: spec for spec in signature.outputs}
    made: dict[str, tuple[Step, ...]] = {}
    best: dict[str, int] = {}
    told: dict[str, tuple[bytes, ...]] = {}
    for want in wanted:
        spec = specs.get(want.output)
        if spec is None:
            raise ModelLoadError(
                f"results: there is no output {want.output!r}; outputs: {', '.join(specs)}"
            )
        rule = _RULES[want.apply]
        _check(rule, want, spec, signature.batched)
        specs[want.output] = rule.becomes(spec, want)
        if rule.step is None:
            _check_size(want, specs[want.output], signature.batched)
            best[want.output] = want.k
            told[want.output] = names if _are_named(spec, names, signature) else ()
        else:
            made[want.output] = (*made.get(want.output, ()), rule.step)
    named = {
        name: labels
        for name, labels in _labelled(signature, names).items()
        if specs[name] == signature.output(name)  # a step made others of what is no class
    }
    made_of = replace(signature, outputs=tuple(specs.values()))
    return Processor(made_of, made, best, named | told)


def _labelled(signature: Signature, labels: tuple[bytes, ...]) -> dict[str, tuple[bytes, ...]]:
    """The outputs whose classes these may name: where one has as many, none that has others."""
    classes = {
        spec.name: _size(spec, batched=signature.batched)
        for spec in signature.outputs
        if spec.dtype not in _NOT_NUMBERS
    }
    known = len(labels) in classes.values()
    return {
        name: labels for name, many in classes.items() if not known or many in {None, len(labels)}
    }


def _size(spec: TensorSpec, *, batched: bool) -> int | None:
    """How many numbers a row has; None where that is free."""
    sizes = [size for size in spec.shape[1 if batched else 0 :] if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(spec.shape) - batched else None


def _check(rule: _Rule, want: ResultStep, spec: TensorSpec, batched: bool) -> None:
    here = f"results: {want.apply} of output {want.output!r}"
    if spec.dtype in _NOT_NUMBERS or (rule.floats_only and spec.dtype not in _FLOATS):
        kind = "floating-point numbers" if rule.floats_only else "numbers"
        raise ModelLoadError(
            f"{here}: needs {kind}, the output is {spec.dtype.value} here; "
            "remove the step, or put it before the one that changes the output"
        )
    if rule.classes and len(spec.shape) < (2 if batched else 1):
        raise ModelLoadError(
            f"{here}: needs an axis of classes, the output has shape {list(spec.wire_shape)} here; "
            "remove the step or name another output"
        )


def _are_named(spec: TensorSpec, labels: tuple[bytes, ...], signature: Signature) -> bool:
    """Whether these are names of its classes, and not of another output's."""
    classes = spec.shape[-1]
    if not labels or not isinstance(classes, int) or classes == len(labels):
        return True
    numbers = (output for output in signature.outputs if output.dtype not in _NOT_NUMBERS)
    if not any(output.shape[-1:] == (len(labels),) for output in numbers):
        raise ModelLoadError(
            f"results: output {spec.name!r} has {classes} classes and `labels` names "
            f"{len(labels)}; give one label a class, in order"
        )
    return False


def _check_size(want: ResultStep, spec: TensorSpec, batched: bool) -> None:
    size = _size(spec, batched=batched)
    if size is not None and size > _MOST_CLASSES:
        raise ModelLoadError(
            f"results: top_k of output {want.output!r} would tell {size} classes a row, at most "
            f"{_MOST_CLASSES} are told at once: lower `k`, or remove the step"
        )


def _check_many(classes: int) -> None:
    if classes > _MOST_CLASSES:
        raise InvalidInput(
            f"{classes} classes of all rows are to be told, at most {_MOST_CLASSES} are at once: "
            "send fewer rows at a time, or ask for fewer: with `classification`, or with `k` of "
            "`top_k` in the model's card"
        )
