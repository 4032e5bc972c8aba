"""What labs find out: how long runs take, what they would be compared with, how they answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from headrace.engine.backends import candidates as backends_of
from headrace.errors import InvalidInput, ModelLoadError
from headrace.load.apis.contract import Specs
from headrace.receiver.run.validate import refuse_wide, wide_inputs
from headrace.settings import BackendName, Precision
from headrace.tune.answers import Gate, Gated, arithmetic, judge_all
from headrace.tune.bench import Bench, Subject
from headrace.tune.data import Samples, load_samples, nameless
from headrace.tune.drop import MOST_SAMPLES
from headrace.tune.job import Job
from headrace.tune.measured import Measured
from headrace.tune.messages import Loaded, Shapes
from headrace.tune.mixing import TRIES, can_mix, mix
from headrace.tune.profile import Profiled, profile
from headrace.tune.space import Candidate, Space, most_lanes, untuned
from headrace.values import Signature, TensorSpec

# Of made-up samples more say no more; of real ones more would take the time of the race, which is
# worth it where labels are wanted to decide: of those as many are read as there is room for.
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
        benches = [Bench(variant, subject, job.journal) for variant in space.variants]
        for bench in benches:
            labs.callback(bench.close)
        given = Given(job)
        profiled = profile(benches, subject, job.progress, given.unfit)
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
        samples = given.of(first.loaded)
        _compare_shapes(samples, first.loaded, job)
        kinds = len({arithmetic(bench) for bench in benches})
        tries = TRIES * any(can_mix(bench.variant, job) for bench in benches)
        gate = Gate(first, samples, job, kinds=kinds, tries=tries)
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
    instances = most_lanes(cores, first.threads)
    return Candidate(
        first.backend, first.precision, instances, first.threads, most, linger_ms, first.f32_layers
    )


class Given:
    """The samples, read when the first lab says what the model takes: what is wrong is told then.

    Others may say the same, whatever they call a free axis, and need not read them again.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._samples: tuple[tuple[bool, Specs], Samples] | None = None

    def of(self, loaded: Loaded) -> Samples:
        """Those that go into what was loaded.

        Raises:
            HeadraceError: they cannot be had.
        """
        whole = _filled(loaded, loaded.shape or {})
        taken = whole.batched, nameless(whole)
        if self._samples is None or self._samples[0] != taken:
            self._samples = None  # not to hold both
            self._samples = taken, _samples(loaded, whole, self._job)
        return self._samples[1]

    def unfit(self, loaded: Loaded) -> str | None:
        """Why what was loaded cannot answer them.

        Raises:
            HeadraceError: they cannot be had.
        """
        if self._job.data is None:
            return None
        wide = wide_inputs(loaded.signature.unwrap(), loaded.integer_bits)
        try:
            refuse_wide(wide, self.of(loaded).inputs)
        except InvalidInput as error:
            return error.message
        return None


def _samples(loaded: Loaded, whole: Signature, job: Job) -> Samples:
    """What answers are compared on, where there is time for all of it."""
    if job.data is None:
        return load_samples(None, whole, rows=_MADE_UP)
    settings, signature = job.model.settings, loaded.signature.unwrap()
    # What else was measured is a guess, and the samples may be of other shapes.
    said = settings.warm_shapes.keys() | settings.buckets.keys()
    shape = {name: sizes for name, sizes in (loaded.shape or {}).items() if name in said}
    return load_samples(
        job.data,
        signature,
        rows=_MOST_SAMPLES,
        labelled_rows=MOST_SAMPLES,
        accepts=settings.accepts,
        classes=job.model.classes(signature),
        become=_filled(loaded, shape),
    )


def _filled(loaded: Loaded, shape: Shapes) -> Signature:
    """The signature, its free axes as large as that."""
    signature = loaded.signature.unwrap()
    start = 1 if signature.batched else 0

    def filled(spec: TensorSpec) -> TensorSpec:
        sizes = shape.get(spec.name)
        return spec if sizes is None else replace(spec, shape=(*spec.shape[:start], *sizes))

    return replace(signature, inputs=tuple(map(filled, signature.inputs)))


def _compare_shapes(samples: Samples, loaded: Loaded, job: Job) -> None:
    """Tell where rows of another shape were measured than those that are compared and sent."""
    for name, sizes in (loaded.shape or {}).items():
        found = samples.inputs[name].shape[1:]
        if found != tuple(sizes):
            job.progress.tell(
                f"rows of {name} were measured at {list(sizes)}, and those of --data are of "
                f"{list(found)}: the card says with `warm_shapes` what is measured"
            )
