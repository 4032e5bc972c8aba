"""How near one output of a candidate is to that of the reference, in numbers: pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headrace.results import steps
from headrace.settings import ResultStep
from headrace.values import Array, DType, TensorSpec

_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
# What scores of classes are often called.
_WORDS = ("logit", "prob", "score", "softmax", "class", "label")
# Sums of 1,000 rounded numbers are that near to 1, also in 16 bits.
_ONE = 1e-2
_LEAST = 1e-12


class Nearness(NamedTuple):
    """One output: ``broken`` says why it is none at all, else how far it is from the reference.

    ``cosine`` is of floats, ``relative_l2`` of all numbers that are compared as such; ``agreement``
    is the share of equal best classes, or of equal elements where they are no scores of classes;
    ``kl`` is of scores that are floats.
    """

    output: str
    scores: bool
    broken: str = ""
    cosine: float | None = None
    relative_l2: float | None = None
    agreement: float | None = None
    kl: float | None = None


def unlike(reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> str | None:
    """Why answers cannot be compared, or None."""
    for name, array in reference.items():
        other = candidate.get(name)
        if other is None:
            return f"it has no output {name!r}"
        if other.shape != array.shape:
            return (
                f"its output {name!r} is of shape {list(other.shape)}, the reference's of "
                f"{list(array.shape)}"
            )
    return None


def compare(name: str, before: Array, after: Array, scores: Collection[str]) -> Nearness:
    """Compare one output, rows on axis 0; one without elements is as near as can be."""
    if not before.size:
        return Nearness(name, scores=False, cosine=1.0, relative_l2=0.0)
    if not are_floats(before):
        return _compare_others(name, before, after, scores)
    a, b = before.astype(np.float64), after.astype(np.float64)
    known = np.isfinite(a)
    wrong = ~np.isfinite(b) & known
    if wrong.any():
        rows = int(np.count_nonzero(wrong.reshape(len(a), -1).any(axis=1)))
        return Nearness(
            name,
            scores=False,
            broken=f"output {name!r} has numbers that are not finite in {rows} of {len(a)} answers",
        )
    # Where the reference itself has no number, nothing can be said.
    a, b = np.where(known, a, 0.0), np.where(known, b, 0.0)
    told = has_classes(before) and (name in scores or _are_scores(name, a))
    return Nearness(
        name,
        scores=told,
        cosine=_cosine(a, b),
        relative_l2=_relative(a, b),
        agreement=float(np.mean(best(a) == best(b))) if told else None,
        kl=_divergence(a, b) if told else None,
    )


def _compare_others(name: str, before: Array, after: Array, scores: Collection[str]) -> Nearness:
    """Compare what are no floats: element by element, or as scores that were quantised."""
    if name in scores and before.dtype.kind in "iu" and has_classes(before):
        a, b = before.astype(np.float64), after.astype(np.float64)
        same = float(np.mean(best(before) == best(after)))
        return Nearness(name, scores=True, relative_l2=_relative(a, b), agreement=same)
    equal = float(np.mean(np.asarray(before == after, bool)))
    return Nearness(name, scores=True, agreement=equal)


def are_floats(array: Array) -> bool:
    """Whether they may be near, and not only equal or not."""
    return DType.of(array.dtype) in _FLOATS


def known_scores(
    outputs: Sequence[TensorSpec], classes: int, steps: Sequence[ResultStep]
) -> frozenset[str]:
    """The outputs that a card says are scores: by its steps, or with a column for each class."""
    chosen = {step.output for step in steps if step.apply != "sigmoid"}
    wide = {spec.name for spec in outputs if spec.shape[-1:] == (classes,) and classes > 1}
    return frozenset(chosen | wide)


def has_classes(output: Array) -> bool:
    """Whether it may be scores of classes: several in each row."""
    return output.ndim > 1 and output.shape[-1] > 1


def best(scores: Array) -> Array:
    """The best class of each row."""
    return steps.argmax(scores)


def _are_scores(name: str, a: Array) -> bool:
    """Whether they are shares of classes, or are called scores."""
    shares = bool((a >= 0).all() and np.allclose(a.sum(axis=-1), 1.0, atol=_ONE))
    return shares or any(word in name.lower() for word in _WORDS)


def _cosine(a: Array, b: Array) -> float:
    """The mean over the rows."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    a, b = (array / _scale(a, b, axis=1) for array in (a, b))
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    equal = (a == b).all(axis=1)  # nothing is as near to nothing as can be
    cosines = np.where(equal, 1.0, (a * b).sum(axis=1) / np.maximum(sizes, _LEAST))
    return float(np.clip(cosines, -1.0, 1.0).mean())


def _relative(a: Array, b: Array) -> float:
    a, b = (array / _scale(a, b) for array in (a, b))
    size = float(np.linalg.norm(a))
    apart = float(np.linalg.norm(b - a))
    return apart / max(size, _LEAST) if apart else 0.0


def _scale(a: Array, b: Array, axis: int | None = None) -> Array:
    """What both are divided by, for the squares of large numbers of 64 bits are not finite."""
    largest = np.maximum(*(np.abs(one).max(axis=axis, keepdims=True) for one in (a, b)))
    return np.asarray(np.maximum(largest, 1.0))


def _divergence(a: Array, b: Array) -> float:
    """How much information is lost where one takes the other's shares for true, on average."""
    p, q = (np.maximum(_shares(array), _LEAST) for array in (a, b))
    return max(float((p * np.log(p / q)).sum(axis=-1).mean()), 0.0)


def _shares(array: Array) -> Array:
    if (array >= 0).all() and np.allclose(array.sum(axis=-1), 1.0, atol=_ONE):
        return array
    return steps.softmax(array)
