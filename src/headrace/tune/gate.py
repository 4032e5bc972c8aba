"""Whether a candidate answers as well as the reference, which computes in 32 bits: pure.

With labels, by how much less often its best class is the label: the upper limit of that, right 95
times in 100, may be at most what is allowed. The two are compared sample by sample, so only those
count in which one is right and the other is not (``tune.drop``). Without labels, at most so large
a share may name another class, for no more of them can have been right before; and the numbers
must be near. Outputs that are no scores of classes are judged by their numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.errors import SettingsError
from headrace.tune.drop import enough, highest_drop
from headrace.tune.nearness import Nearness, best, compare, has_classes, unlike
from headrace.tuned import Accuracy
from headrace.values import Array, DType

# Two libraries in 32 bits are 0.0002 % apart; what is this near changes nothing anybody could see.
_SAME = 1e-4
# What shares of whole samples are off by at most.
_ROUNDING = 1e-9
# Natural units of information that an answer may lose on average, where it is of scores.
_MOST_KL = 0.05

Outputs = Mapping[str, Array]


class Verdict(NamedTuple):
    """How near a candidate is, whether that is near enough, and why, for people.

    ``undecided``: with time for more samples it might be.
    """

    accuracy: Accuracy
    passed: bool
    reason: str
    undecided: bool = False


class Supply(NamedTuple):
    """How many samples there are, and how many of them there is memory for."""

    there: int
    held: int


def judge(
    reference: Outputs,
    candidate: Outputs,
    *,
    labels: Array | None,
    max_drop: float,
    least_cosine: float = 0.999,
    scores: Collection[str] = (),
    supply: Supply | None = None,
) -> Verdict:
    """Judge the answers of a candidate to the samples that the reference answered; rows on axis 0.

    ``labels`` are the right classes, one a row; ``max_drop`` is a share (0.005: 0.5 %). ``scores``
    names outputs that are known to be scores of classes; others are recognised where they can be.
    ``supply`` is how many samples there would be, were there time for more; None: no more.

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
    name = _answering(reference, found, labels, scores)
    others = [one for one in found if one.output != name]
    if reference[name].size != labels.size:  # the labels say that it is scores
        found = [*others, compare(name, reference[name], candidate[name], (name,))]
    before, after = (_chosen(one[name], labels) == labels for one in (reference, candidate))
    broken = next((one.broken for one in found if one.broken), "") or _far(others, least_cosine)
    return _labelled(
        found, broken, (before, after), max_drop, supply or Supply(labels.size, labels.size)
    )


def _labelled(
    found: list[Nearness],
    broken: str,
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    max_drop: float,
    supply: Supply,
) -> Verdict:
    before, after = right
    rows = before.size
    lost = int(np.count_nonzero(before & ~after))
    won = int(np.count_nonzero(after & ~before))
    drop, bound = (lost - won) / rows, highest_drop(lost, won, rows)
    accuracy = _accuracy(found, "top1_drop", rows, labelled=True).model_copy(
        update={"drop": drop, "drop_bound": bound, "max_drop": max_drop}
    )
    if broken:
        return Verdict(accuracy, passed=False, reason=broken)
    told = f"top-1 {_of(before)} before, {_of(after)} after, of {rows} labelled samples"
    if bound <= max_drop:
        return Verdict(accuracy, passed=True, reason=f"{told}: it drops by at most {bound:.2%}")
    if not lost and not won and _is_same(found):
        same = f"{told}: the numbers are the same but for rounding"
        return Verdict(accuracy, passed=True, reason=same)
    if drop > max_drop:
        why = f"a drop of {drop:.2%}, allowed is {max_drop:.2%}"
        return Verdict(accuracy, passed=False, reason=f"{told}: {why}")
    more = _more(rows, supply, enough(max_drop, lost / rows, won / rows))
    why = (
        f"so few cannot rule out a drop of {bound:.2%}, and allowed is {max_drop:.2%}: {more} "
        f"(or --max-drop {math.ceil(1e3 * bound) / 10:g}%)"
    )
    return Verdict(accuracy, passed=False, reason=f"{told}: {why}", undecided=rows < supply.held)


def _more(rows: int, supply: Supply, least: int | None) -> str:
    """What would decide it."""
    there, held = supply
    if least is None:
        return "allow some" if rows >= held else "give a longer --budget"
    if rows >= there:
        return f"give more, at least {least}"
    given = "" if there >= least else f", and at least {least} samples"
    if rows >= held or held < least <= there:
        return f"there is memory for {held} of {there}, give smaller ones{given}"
    return f"there was time for {rows} of {there}, give a longer --budget{given}"


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


def _is_same(found: list[Nearness]) -> bool:
    """Whether all outputs are, but for rounding."""
    others = (one.agreement for one in found if one.relative_l2 is None)
    return _farthest(found) <= _SAME and all(equal == 1 for equal in others)


def _farthest(found: list[Nearness]) -> float:
    return max((one.relative_l2 for one in found if one.relative_l2 is not None), default=0.0)


def _answering(
    reference: Outputs, found: list[Nearness], labels: Array, scores: Collection[str]
) -> str:
    """The output whose best class the labels are; of several that which is likest to be it."""

    def doubt(one: Nearness) -> int:
        output = reference[one.output]
        if output.dtype.kind in "iu" and output.size != labels.size:
            # Quantised scores, or the places of the best few, or words.
            return 0 if one.output in scores else 2
        return 0 if one.scores else 1

    fitting = [one for one in found if _fits(reference[one.output], labels)]
    if fitting:
        return min(fitting, key=doubt).output
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in reference.items())
    raise SettingsError(
        f"the labels, {list(labels.shape)} from {labels.min()} to {labels.max()}, fit no output "
        f"of the model ({shapes}): scores of classes have a row for each and a column for a class"
    )


def _fits(output: Array, labels: Array) -> bool:
    if DType.of(output.dtype) is DType.BYTES or not output.size or len(output) != len(labels):
        return False
    if _is_chosen(output, labels):
        return True
    columns = output.shape[-1]
    return (
        has_classes(output) and output.size == labels.size * columns and columns > int(labels.max())
    )


def _is_chosen(output: Array, labels: Array) -> bool:
    """Whether the model itself has chosen a class for each label."""
    return output.dtype.kind in "iu" and output.size == labels.size


def _chosen(output: Array, labels: Array) -> Array:
    return (output if _is_chosen(output, labels) else best(output)).reshape(labels.shape)


def _of(right: NDArray[np.bool_]) -> str:
    return f"{float(right.mean()):.2%}"
