"""What each way of computing answers to the same samples, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from headrace.engine import samples as files
from headrace.errors import HeadraceError, SettingsError
from headrace.tune.bench import Bench
from headrace.tune.data import Samples
from headrace.tune.drop import MOST_SAMPLES, enough
from headrace.tune.gate import Supply, judge
from headrace.tune.job import Job, room_bytes
from headrace.tune.messages import Loaded
from headrace.tune.nearness import known_scores
from headrace.tune.ragged import Parts, side_by_side
from headrace.tune.space import LeftOut, most_lanes
from headrace.tuned import Accuracy
from headrace.values import Array

SURE = 2
"""With labels so many times the fewest are wanted: of just those one that is lost is too many."""

# Rows of one run: more would not be faster. Fewer samples than the least say nothing.
_ROWS, _LEAST_ROWS = 8, 32
# Of the memory that is free, for the answers of one: comparing takes 20 times that, in 64 bits.
_MEMORY_SHARE = 1 / 40


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of judging a kind of arithmetic; ``accuracy`` None: it has not answered."""

    kind: str
    passed: bool
    reason: str
    accuracy: Accuracy | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Gated:
    """What was judged, and what was left out besides."""

    judgements: tuple[Judgement, ...]
    others: tuple[LeftOut, ...] = ()

    @property
    def accuracy(self) -> Mapping[str, Accuracy]:
        """What passed, with how like the reference it is."""
        return {
            one.kind: one.accuracy
            for one in self.judgements
            if one.passed and one.accuracy is not None
        }

    @property
    def failed(self) -> tuple[LeftOut, ...]:
        """What did not pass."""
        failed = [LeftOut(one.kind, one.reason) for one in self.judgements if not one.passed]
        return (*failed, *self.others)

    @property
    def origin(self) -> str:
        """On what samples it was seen."""
        return self.judgements[-1].origin if self.judgements else ""


class Gate:
    """Judges kinds of arithmetic by their answers to the samples, against those of a reference.

    By as many samples as there is time for, where so many ``kinds`` answer them, and perhaps so
    many more that are tried.
    """

    def __init__(
        self, reference: Bench, samples: Samples, job: Job, *, kinds: int, tries: int = 0
    ) -> None:
        self.reference = arithmetic(reference)
        self._bench = reference
        self._samples = samples
        self._supply = Supply(max(samples.there, len(samples)), len(samples))
        self._kinds = kinds
        self._tries = tries
        self._job = job
        self._wanted: Parts | None = None

    def judge(self, bench: Bench) -> Judgement:
        """Judge one, unless the journal knows.

        Raises:
            HeadraceError: the reference cannot answer the samples.
        """
        kind, journal = arithmetic(bench), self._job.journal
        said = journal.get("verdict", kind, self.reference)
        if said is None:
            said, undecided = self._ask(bench)
            if not undecided:  # or another start would not try with its time
                journal.put(said, "verdict", kind, self.reference)
        accuracy = said.get("accuracy")
        return Judgement(
            kind,
            bool(said["passed"]),
            str(said["reason"]),
            None if accuracy is None else Accuracy.model_validate(accuracy),
            str(said.get("origin", "")),
        )

    def _ask(self, bench: Bench) -> tuple[dict[str, object], bool]:
        job, kind = self._job, arithmetic(bench)
        job.progress.step(f"comparing the answers of {kind} with those of {self.reference}")
        if self._wanted is None:
            self._samples = self._fitting()
            self._wanted = answers(self._bench, self._samples)
        return _judged(bench, self._wanted, self._samples, self._supply, job)

    def _fitting(self) -> Samples:
        """As many of the samples as there is time for: as long as the first few took."""
        job, samples = self._job, self._samples
        self._bench.lab()  # another start has not loaded what the journal knows
        lanes = most_lanes(job.model.cores, self._bench.variant.threads)
        few = some(samples, _ROWS * lanes)
        left_s = job.progress.left_s()
        found = answers(self._bench, few)
        row_s = max(left_s - job.progress.left_s(), 1e-6) / len(few)
        held = min(len(samples), max(_room(found, len(few)), _LEAST_ROWS))
        self._supply = Supply(self._supply.there, held)
        least = None if samples.labels is None else enough(job.wanted.max_drop)
        plain = job.progress.gate_s() / (row_s * (self._kinds + self._tries))
        most = job.progress.most_gate_s() / (row_s * self._kinds)
        return some(samples, min(how_many(int(plain), int(most), least), held))


def _room(found: Parts, rows: int) -> int:
    """Of how many samples like these the answers of two can be compared in memory."""
    row_bytes = sum(part.nbytes for parts in found.values() for part in parts) / rows
    return int(min(room_bytes(_MEMORY_SHARE) / max(row_bytes, 1), MOST_SAMPLES))


def how_many(plain: int, most: int, least: int | None) -> int:
    """How many samples are answered: pure.

    There is time for ``plain``. With labels fewer than ``least`` decide nothing, and are worth time
    of the race, which there is for the ``most``; None: any number decides.
    """
    if least is not None and plain < SURE * least and most >= least:
        plain = max(plain, min(most, SURE * least))
    return max(plain, _LEAST_ROWS)


def arithmetic(bench: Bench) -> str:
    """How a bench computes."""
    return bench.variant.arithmetic


def judge_all(benches: Sequence[Bench], gate: Gate) -> Gated:
    """Judge each kind of arithmetic against the reference, which passes.

    Raises:
        HeadraceError: the reference cannot answer the samples.
    """
    by_kind: dict[str, Bench] = {}
    for bench in sorted(benches, key=lambda one: one.variant.threads):
        by_kind.setdefault(arithmetic(bench), bench)
    judgements = []
    for kind, bench in by_kind.items():
        if kind != gate.reference:
            judgements.append(gate.judge(bench))
            bench.close()  # nothing else is asked of it, and there may be no memory for all
    return Gated(tuple(judgements))


def _judged(
    bench: Bench, wanted: Parts, samples: Samples, supply: Supply, job: Job
) -> tuple[dict[str, object], bool]:
    """What is kept of a judgement, and whether it lacked time."""
    try:
        before, after = side_by_side(wanted, answers(bench, samples))
    except HeadraceError as error:
        return {"passed": False, "reason": error.message}, False
    card = job.model
    scores = frozenset[str]()
    if bench.loaded is not None:
        signature = bench.loaded.signature.unwrap()
        classes = len(card.classes(signature))
        scores = known_scores(signature.outputs, classes, card.settings.results)
    verdict = judge(
        before,
        after,
        labels=samples.labels,
        max_drop=job.wanted.max_drop,
        scores=scores,
        supply=supply,
    )
    made_up = "" if job.data is not None else ", made up: real ones may be nearer (--data)"
    return {
        "passed": verdict.passed,
        "reason": f"{verdict.reason}{made_up}",
        "accuracy": verdict.accuracy.model_dump(mode="json"),
        "origin": samples.origin,
    }, verdict.undecided


def answers(bench: Bench, samples: Samples) -> Parts:
    """What a bench answers to each of the samples.

    Raises:
        HeadraceError: it does not answer them.
    """
    if bench.loaded is None:
        raise SettingsError(f"{bench.variant} is not loaded")
    with TemporaryDirectory(prefix="headrace-tune-") as folder:
        asked, told = Path(folder, "asked"), Path(folder, "told")
        files.write(
            asked,
            1,
            [files.Sample(one, {}) for one in _runs(samples, bench.loaded, bench.most_rows)],
        )
        bench.lab().answer(str(asked), str(told))
        _, found = files.read(told)
    batched = bench.loaded.signature.batched or _has_axis(samples, bench.loaded)
    runs = [sample.outputs for sample in found]
    return {
        name: [row for run in runs for row in _rows(run[name], batched=batched)] for name in runs[0]
    }


def _rows(output: Array, *, batched: bool) -> list[Array]:
    """What came of each sample of a run, a row each."""
    if not batched:
        return [output[np.newaxis]]
    return [output[place : place + 1] for place in range(len(output))]


def _runs(samples: Samples, loaded: Loaded, most_rows: float) -> Iterator[dict[str, Array]]:
    """The samples as a model takes them: some rows at a time, or each alone."""
    batched = loaded.signature.batched
    step = int(min(_ROWS, loaded.most_rows, most_rows)) if batched else 1
    rows_stay = batched or _has_axis(samples, loaded)
    for start in range(0, len(samples), step):
        part = {name: array[start : start + step] for name, array in samples.inputs.items()}
        yield part if rows_stay else {name: array[0] for name, array in part.items()}


def _has_axis(samples: Samples, loaded: Loaded) -> bool:
    """Whether the samples are rows, and one row is what a model takes that runs each alone."""
    return any(
        len(spec.shape) == samples.inputs[spec.name].ndim
        for spec in loaded.signature.unwrap().inputs
    )


def some(samples: Samples, rows: int) -> Samples:
    """So many of them, from everywhere: they may lie by their classes."""
    if len(samples) <= rows:
        return samples
    return samples.at(np.linspace(0, len(samples) - 1, rows).astype(int).tolist())
