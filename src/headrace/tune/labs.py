"""What labs find out: how long runs take, what they would be compared with, how they answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from headrace.engine.backends import candidates as backends_of
from headrace.errors import ModelLoadError
from headrace.settings import BackendName, Precision
from headrace.tune.answers import Gate, Gated, arithmetic, judge_all
from headrace.tune.data import Samples, load_samples
from headrace.tune.job import Job
from headrace.tune.measured import Measured
from headrace.tune.messages import Loaded
from headrace.tune.mixing import TRIES, can_mix, mix
from headrace.tune.profile import Bench, Profiled, Subject, profile
from headrace.tune.space import Candidate, Space, untuned
from headrace.values import Signature, TensorSpec

# Of made-up samples more say no more; of real ones more would take the time of the race.
_MADE_UP, _MOST_SAMPLES = 256, 2000


@dataclass(frozen=True, slots=True)
class Found:
    """What labs found out. ``untuned`` is what is served without us, ``loaded`` how that loads."""

    profiled: Profiled
    untuned: Candidate
    gated: Gated
    samples: Samples
    loaded: Loaded

    @property
    def measured(self) -> tuple[Measured, ...]:
        """The variants whose answers are good enough."""
        gone = {one.what for one in self.gated.failed}
        return tuple(one for one in self.profiled.measured if one.variant.arithmetic not in gone)


def look(space: Space, job: Job) -> Found:
    """Measure every variant, and judge its answers.

    Raises:
        ModelLoadError: none of them runs.
        HeadraceError: the samples cannot be had.
    """
    model = job.model
    subject = Subject(
        model.path, model.settings, job.wanted.objective.slo_s, model.cores, model.cache_dir
    )
    with ExitStack() as labs:
        benches = [Bench(variant, subject, job.journal, labs) for variant in space.variants]
        profiled = profile(benches, subject, job.progress)
        if not profiled.measured:
            raise ModelLoadError(
                f"{model.named} cannot be tuned: "
                + "; ".join(f"{one.what}: {one.why}" for one in profiled.failed)
            )
        baseline = _untuned(profiled.measured, job)
        alive = {one.variant for one in profiled.measured}
        benches = [bench for bench in benches if bench.variant in alive]
        first = next(one for one in benches if one.variant.backend is baseline.backend)
        if first.loaded is None:
            raise RuntimeError("what was measured was loaded")
        samples = _samples(first.loaded, job)
        kinds = len({arithmetic(bench) for bench in benches})
        kinds += TRIES * any(can_mix(bench.variant, job) for bench in benches)
        gate = Gate(first, samples, kinds, job)
        gated = judge_all(benches, gate)
        profiled, gated = mix(profiled, gated, gate, subject, job)
    for one in gated.failed:
        job.progress.tell(f"left out: {one.what}: {one.why}")
    return Found(profiled, baseline, gated, samples, first.loaded)


def _untuned(measured: Sequence[Measured], job: Job) -> Candidate:
    """What would be served without us; of a model that only runs on more threads, the first."""
    cores, most = job.model.cores, job.model.settings.max_batch
    linger_ms = job.model.linger_ms or 0.0
    alone = {
        one.variant.backend: one.run_s(1)
        for one in measured
        if one.variant.precision is Precision.F32
        and one.variant.threads == 1
        and one.variant.backend in backends_of(job.model.path, BackendName.AUTO)
    }
    if alone:
        return untuned(alone, cores, most, linger_ms)
    first = measured[0].variant
    instances = max(cores // first.threads, 1)
    return Candidate(
        first.backend, first.precision, instances, first.threads, most, linger_ms, first.f32_layers
    )


def _samples(loaded: Loaded, job: Job) -> Samples:
    """What answers are compared on, where there is time for all of it."""
    return load_samples(
        job.data,
        _whole(loaded),
        rows=_MADE_UP if job.data is None else _MOST_SAMPLES,
        accepts=job.model.settings.accepts,
        classes=job.model.found.labels,
    )


def _whole(loaded: Loaded) -> Signature:
    """The signature, its free axes as large as was measured."""
    signature, shape = loaded.signature.unwrap(), loaded.shape or {}
    start = 1 if signature.batched else 0

    def filled(spec: TensorSpec) -> TensorSpec:
        sizes = shape.get(spec.name)
        return spec if sizes is None else replace(spec, shape=(*spec.shape[:start], *sizes))

    return replace(signature, inputs=tuple(map(filled, signature.inputs)))
