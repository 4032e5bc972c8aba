"""Whether a candidate answers as well as the reference, which computes in 32 bits: pure.

With labels, by how much less often its best class is the label: the upper limit of that, right 95
times in 100, may be at most what is allowed. The two are compared sample by sample, so only those
count in which one is right and the other is not (the score interval of Tango, Statistics in
Medicine 17, 1998; it needs no chance, and holds where no sample differs). Without labels, at most
so large a share may name another class, for no more of them can have been right before; and the
numbers must be near. Outputs that are no scores of classes
are judged by their numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.errors import SettingsError
from headrace.tune.nearness import Nearness, best, compare, unlike
from headrace.tuned import Accuracy
from headrace.values import Array

# One-sided, 95 times in 100.
_Z = 1.6448536269514722
# Halvings of the search for a limit: more than a double has digits.
_HALVINGS = 60
# Two libraries in 32 bits are 0.0002 % apart; what is this near changes nothing anybody could see.
_SAME = 1e-4
# What shares of whole samples are off by at most.
_ROUNDING = 1e-9
# Natural units of information that an answer may lose on average, where it is of scores.
_MOST_KL = 0.05

Outputs = Mapping[str, Array]


class Verdict(NamedTuple):
    """How near a candidate is, whether that is near enough, and why, for people."""

    accuracy: Accuracy
    passed: bool
    reason: str


def judge(
    reference: Outputs,
    candidate: Outputs,
    *,
    labels: Array | None,
    max_drop: float,
    least_cosine: float = 0.999,
    scores: Collection[str] = (),
) -> Verdict:
    """Judge the answers of a candidate to the samples that the reference answered; rows on axis 0.

    ``labels`` are the right classes, one a row; ``max_drop`` is a share (0.005: 0.5 %). ``scores``
    names outputs that are known to be scores of classes; others are recognised where they can be.

    Raises:
        SettingsError: there are no answers, or the labels fit none of the outputs.
    """
    rows = max((len(array) for array in reference.values() if array.ndim), default=0)
    if not rows:
        raise SettingsError("there is no answer to judge by: give at least one sample")
    changed = unlike(reference, candidate)
    if changed is not None:
        labelled = labels is not None
        none = Accuracy(metric="comparable", samples=rows, labelled=labelled, cosine=0.0)
        return Verdict(none, passed=False, reason=changed)
    found = [compare(name, array, candidate[name], scores) for name, array in reference.items()]
    if labels is None:
        return _unlabelled(found, rows, max_drop, least_cosine)
    name = _answering(reference, found, labels)
    others = [one for one in found if one.output != name]
    right = [
        best(outputs[name]).reshape(labels.shape) == labels for outputs in (reference, candidate)
    ]
    return _labelled(found, others, (right[0], right[1]), max_drop, least_cosine)


def _labelled(
    found: list[Nearness],
    others: list[Nearness],
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    max_drop: float,
    least_cosine: float,
) -> Verdict:
    before, after = right
    rows = before.size
    lost = int(np.count_nonzero(before & ~after))
    won = int(np.count_nonzero(after & ~before))
    drop, bound = (lost - won) / rows, highest_drop(lost, won, rows)
    accuracy = _accuracy(found, "top1_drop", rows, labelled=True).model_copy(
        update={"drop": drop, "drop_bound": bound, "max_drop": max_drop}
    )
    broken = next((one.broken for one in found if one.broken), "") or _far(others, least_cosine)
    if broken:
        return Verdict(accuracy, passed=False, reason=broken)
    told = f"top-1 {_of(before)} before, {_of(after)} after, of {rows} labelled samples"
    if bound <= max_drop:
        return Verdict(accuracy, passed=True, reason=f"{told}: it drops by at most {bound:.2%}")
    if not lost and not won and _farthest(found) <= _SAME:
        same = f"{told}: the numbers are the same but for rounding"
        return Verdict(accuracy, passed=True, reason=same)
    why = f"a drop of {drop:.2%}, allowed is {max_drop:.2%}"
    if drop <= max_drop:
        why = _too_few(bound, max_drop)
    return Verdict(accuracy, passed=False, reason=f"{told}: {why}")


def _too_few(bound: float, max_drop: float) -> str:
    enough = math.ceil(_Z**2 * (1 - max_drop) / max_drop) if max_drop > 0 else 0
    more = f"give more, at least {enough}" if enough else "allow some"
    return (
        f"so few cannot rule out a drop of {bound:.2%}, and allowed is {max_drop:.2%}: {more} "
        f"(or --max-drop {bound:.1%})"
    )


def _unlabelled(found: list[Nearness], rows: int, max_drop: float, least_cosine: float) -> Verdict:
    scored = [one for one in found if one.scores]
    metric = "top1_agreement" if scored else "cosine"
    accuracy = _accuracy(found, metric, rows, labelled=False)
    if scored:
        accuracy = accuracy.model_copy(update={"max_drop": max_drop})
    broken = next((one.broken for one in found if one.broken), "")
    if not broken:
        broken = _disagreeing(scored, max_drop) or _far(found, least_cosine)
    if broken:
        return Verdict(accuracy, passed=False, reason=f"{broken}, over {rows} samples")
    parts = []
    if accuracy.top1_agreement is not None:
        least = f"wanted are {1 - max_drop:.2%}"
        parts.append(f"the best class is the same in {accuracy.top1_agreement:.2%} ({least})")
    parts.append(f"cosine {accuracy.cosine:.5f}")
    told = f"{', '.join(parts)}, over {rows} samples without labels"
    return Verdict(accuracy, passed=True, reason=told)


def _disagreeing(found: list[Nearness], most: float) -> str:
    for one in found:
        if one.agreement is not None and 1 - one.agreement > most + _ROUNDING:
            return (
                f"output {one.output!r} names another best class in {1 - one.agreement:.2%} of the "
                f"answers, allowed are {most:.2%}"
            )
        if one.kl is not None and one.kl > _MOST_KL:
            return (
                f"output {one.output!r} loses {one.kl:.3g} nats an answer, allowed are {_MOST_KL}"
            )
    return ""


def _far(found: list[Nearness], least_cosine: float) -> str:
    """Why numbers are not near enough; of vectors of one length the two bounds are the same."""
    most = math.sqrt(2 * (1 - least_cosine))
    for one in found:
        if one.cosine is not None and one.cosine < least_cosine:
            return f"output {one.output!r} has cosine {one.cosine:.5f}, wanted is {least_cosine}"
        if one.relative_l2 is not None and not one.scores and one.relative_l2 > most:
            return (
                f"output {one.output!r} is off by {one.relative_l2:.2%} of its size, allowed are "
                f"{most:.2%}"
            )
    return ""


def _accuracy(found: list[Nearness], metric: str, rows: int, *, labelled: bool) -> Accuracy:
    """The worst of each number over the outputs."""
    cosines = [one.cosine for one in found if one.cosine is not None]
    agreements = [one.agreement for one in found if one.agreement is not None]
    kls = [one.kl for one in found if one.kl is not None]
    return Accuracy(
        metric=metric,
        samples=rows,
        labelled=labelled,
        top1_agreement=min(agreements, default=None),
        cosine=min(cosines or agreements, default=0.0),
        kl=max(kls, default=None),
        relative_l2=_farthest(found),
    )


def _farthest(found: list[Nearness]) -> float:
    return max((one.relative_l2 for one in found if one.relative_l2 is not None), default=0.0)


def _answering(reference: Outputs, found: list[Nearness], labels: Array) -> str:
    """The output whose best class the labels are."""
    fitting = [one for one in found if _fits(reference[one.output], labels)]
    for one in (*(one for one in fitting if one.scores), *fitting):
        return one.output
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in reference.items())
    raise SettingsError(
        f"the labels, {list(labels.shape)} from {labels.min()} to {labels.max()}, fit no output "
        f"of the model ({shapes}): scores of classes have a row for each and a column for a class"
    )


def _fits(output: Array, labels: Array) -> bool:
    chosen = best(output)
    if chosen.size != labels.size or len(output) != len(labels):
        return False
    if output.dtype.kind in "iu":
        return True
    return output.ndim > labels.ndim and output.shape[-1] > int(labels.max())


def highest_drop(lost: int, won: int, rows: int) -> float:
    """The highest drop, as a share, that so many answers lost and won of so many do not rule out.

    ``lost``: only the reference was right; ``won``: only the candidate was.
    """
    low, high = (lost - won) / rows, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(lost, won, rows, middle) > -_Z:
            low = middle
        else:
            high = middle
    return high


def _score(lost: int, won: int, rows: int, drop: float) -> float:
    """How many standard errors the drop seen is above one assumed."""
    w = (2 * rows - lost + won) * drop - lost - won
    v = -won * drop * (1 - drop)
    share = (math.sqrt(max(w * w - 8 * rows * v, 0.0)) - w) / (4 * rows)
    variance = rows * (2 * share + drop * (1 - drop))
    apart = lost - won - rows * drop
    if variance <= 0:
        return 0.0 if apart == 0 else math.copysign(math.inf, apart)
    return apart / math.sqrt(variance)


def _of(right: NDArray[np.bool_]) -> str:
    return f"{float(right.mean()):.2%}"
