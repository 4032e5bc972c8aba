"""How many of the first layers must compute in f32 for the rest to pass in bf16.

Of what failed for its answers the fewest are looked for, and what is found is measured as the rest
was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace

from headrace.errors import HeadraceError
from headrace.tune.answers import Gate, Gated, Judgement
from headrace.tune.bench import Bench, Subject
from headrace.tune.drop import highest_drop
from headrace.tune.job import Job
from headrace.tune.profile import Profiled, profile
from headrace.tune.space import MIXES, LeftOut, Variant

TRIES = 4
"""How often it is mostly looked, of which each answers all samples."""

# What is found is at most so much more than the fewest, as a part: a layer more hardly costs.
_NEAR = 4


def mix(
    profiled: Profiled, gated: Gated, gate: Gate, subject: Subject, job: Job
) -> tuple[Profiled, Gated]:
    """Add what passes with its first layers in f32 to what was measured, and to what passed."""
    plain = [one.variant for one in profiled.measured if _may(one.variant, gated, job)]
    if not plain:
        return profiled, gated
    fewest_threads = min(plain, key=lambda one: one.threads)
    found = _search(fewest_threads, gate, subject, job)
    if isinstance(found, LeftOut):
        return profiled, replace(gated, others=(*gated.others, found))
    layers, judgement = found
    job.progress.tell(f"{judgement.kind}: {judgement.reason}")
    with ExitStack() as labs:
        benches = [Bench(replace(one, f32_layers=layers), subject, job.journal) for one in plain]
        for bench in benches:
            labs.callback(bench.close)
        more = profile(benches, subject, job.progress)
    return (
        Profiled(
            (*profiled.measured, *more.measured),
            (*profiled.failed, *more.failed),
            min(profiled.rounds, more.rounds),
        ),
        replace(gated, judgements=(*gated.judgements, judgement)),
    )


def can_mix(variant: Variant, job: Job) -> bool:
    """Whether some layers may compute in f32, and how many is left to us."""
    kind = (variant.backend, variant.precision)
    return kind == MIXES and "f32_layers" not in job.model.found.origins


def _may(variant: Variant, gated: Gated, job: Job) -> bool:
    """Whether it can mix, failed as it is, and might pass."""
    if not can_mix(variant, job):
        return False
    failed = (one for one in gated.judgements if one.kind == variant.arithmetic and not one.passed)
    accuracy = next((one.accuracy for one in failed), None)
    if accuracy is None:
        return False
    # Of too few samples with labels nothing passes, however near it is.
    least = highest_drop(0, 0, accuracy.samples) if accuracy.labelled else 0.0
    return least <= job.wanted.max_drop


def _search(
    plain: Variant, gate: Gate, subject: Subject, job: Job
) -> tuple[int, Judgement] | LeftOut:
    """The fewest layers in f32 with which a variant passes, or why none are known to."""
    judgements: dict[int, Judgement] = {}
    ended = ""

    def passes(layers: int) -> bool | None:
        nonlocal ended
        if not job.progress.may_mix():
            ended = "there was no time to try more"
            return None
        variant = replace(plain, f32_layers=layers)
        job.progress.step(f"trying {variant.arithmetic}")
        try:
            with closing(Bench(variant, subject, job.journal)) as bench:
                bench.load()
                judgements[layers] = gate.judge(bench)
        except HeadraceError as error:
            ended = error.message
            return None
        return judgements[layers].passed

    layers = fewest(passes)
    if layers is not None:
        return layers, judgements[layers]
    what = f"{plain.arithmetic} with its first layers in f32"
    if not judgements:
        return LeftOut(what, ended)
    last = max(judgements)
    return LeftOut(what, f"with {last} of them: {judgements[last].reason}; then {ended}")


def fewest(passes: Callable[[int], bool | None]) -> int | None:
    """About the fewest that pass, by doubling and halving; None: none is known to. Pure.

    ``passes`` says None where it cannot tell, which ends the search.
    """
    failed, layers = 0, 1
    while (said := passes(layers)) is False:
        failed, layers = layers, 2 * layers
    if said is None:
        return None
    while layers - failed > max(layers // _NEAR, 1):
        between = (failed + layers) // 2
        said = passes(between)
        if said is None:
            break
        failed, layers = (failed, between) if said else (between, layers)
    return layers
