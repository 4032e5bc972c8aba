"""Which samples there is time for, and what is kept of what they say."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from rich.console import Console

from headrace.engine import samples as files
from headrace.engine_control import SignatureMessage
from headrace.load.command.drive import screen
from headrace.tune import answers as answers_module
from headrace.tune.answers import Gate, Judgement, how_many, some
from headrace.tune.bench import Bench
from headrace.tune.budget import Budget
from headrace.tune.data import Samples
from headrace.tune.job import Job
from headrace.tune.journal import Journal
from headrace.tune.messages import Loaded
from headrace.tune.model import find_model
from headrace.tune.progress import Progress
from headrace.tune.space import Variant
from headrace.tune.wanted import Objective, Wanted
from headrace.values import Array, Signature
from tests.e2e.models import write_fake
from tests.unit.tune.made import BF16, F32
from tests.unit.tune.test_resume import LOADED, SIGNATURE

SAMPLES = Samples({"x": np.arange(100).reshape(100, 1)}, np.repeat(np.arange(10), 10), "all")


def test_of_samples_that_lie_by_their_classes_some_of_every_class_are_taken() -> None:
    few = some(SAMPLES, 20)
    assert len(few) == 20
    assert few.labels is not None
    assert set(few.labels.tolist()) == set(range(10))
    assert (few.inputs["x"][:, 0] // 10 == few.labels).all()
    assert few.origin == "20 of all"
    assert some(few, 10).origin == "10 of all"


def test_where_there_are_no_more_all_are_taken() -> None:
    assert some(SAMPLES, 100) is SAMPLES


@pytest.mark.parametrize(
    ("plain", "most", "least", "rows"),
    [
        (10, 1000, None, 32),  # without labels any number decides
        (100, 1000, None, 100),
        (10, 1000, 539, 1000),
        (10, 5000, 539, 1078),
        (10, 539, 539, 539),
        (100, 538, 539, 100),  # it would decide nothing all the same
        (2000, 5000, 539, 2000),
    ],
)
def test_with_labels_more_time_is_taken_if_that_decides(
    plain: int, most: int, least: int | None, rows: int
) -> None:
    assert how_many(plain, most, least) == rows


def test_no_more_samples_are_answered_than_can_be_compared_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_bytes = 4 * 4
    monkeypatch.setattr(answers_module, "room_bytes", lambda _: 200.0 * row_bytes)
    with Journal(None) as journal:
        judgement, rows = judged(tmp_path, 0.001, 240.0, journal)
    assert rows == 200
    assert "there is memory for 200 of 600, give smaller ones" in judgement.reason


@dataclass
class Clock:
    """What time it is, since the start."""

    now_s: float = 0.0


@dataclass
class Slow:
    """A bench whose lab answers a sample in so much time, with the numbers that it was given."""

    variant: Variant
    clock: Clock
    row_s: float
    off: float = 0.0
    loaded: Loaded = LOADED
    most_rows: float = math.inf
    seen: list[int] = field(default_factory=list)
    largest: int = 0

    def lab(self) -> Slow:
        return self

    def answer(self, asked: str, told: str) -> None:
        _, questions = files.read(Path(asked))
        rows = sum(len(one.inputs["x"]) for one in questions)
        self.seen.append(rows)
        self.largest = max(self.largest, *(len(one.inputs["x"]) for one in questions))
        self.clock.now_s += rows * self.row_s
        files.write(
            Path(told), 1, [files.Sample({}, self._answered(one.inputs)) for one in questions]
        )

    def _answered(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] + np.float32(self.off)}


def test_batches_that_do_not_run_are_not_asked() -> None:
    bench = Slow(F32, Clock(), 0.001, most_rows=3)
    rows = np.ones((20, 4), np.float32)
    found = answers_module.answers(cast("Bench", bench), Samples({"x": rows}, None, "all"))
    assert len(found["y"]) == 20
    assert bench.largest == 3


def test_of_rows_of_which_none_share_a_run_each_is_still_a_row() -> None:
    alone = Signature(SIGNATURE.inputs, SIGNATURE.outputs, batched=False)
    loaded = LOADED.model_copy(update={"signature": SignatureMessage.of(alone)})
    bench = Slow(F32, Clock(), 0.001, loaded=loaded)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = answers_module.answers(cast("Bench", bench), Samples({"x": rows}, None, "all"))
    assert [part.tolist() for part in found["y"]] == [[row] for row in rows.tolist()]


def judged(
    folder: Path, row_s: float, total_s: float, journal: Journal, labels: bool = True
) -> tuple[Judgement, int]:
    """What comes of judging bf16 by up to 600 samples, and by how many it was."""
    x = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    right = x.argmax(axis=1) if labels else None
    clock = Clock(0.35 * total_s)
    reference, other = Slow(F32, clock, row_s), Slow(BF16, clock, row_s, off=0.001)
    wanted = Wanted(Objective(0.05), 0.005, total_s)
    model = replace(find_model(str(write_fake(folder / "m.fake")), 0.05), cores=2)
    with screen(Console(file=io.StringIO())) as shown:
        progress = Progress(shown, Budget(0.0, total_s), lambda: clock.now_s)
        job = Job(model, wanted, folder, journal, progress)
        samples = Samples({"x": x}, right, "600 samples")
        gate = Gate(cast("Bench", reference), samples, job, kinds=2, tries=4)
        judgement = gate.judge(cast("Bench", other))
    return judgement, other.seen[-1] if other.seen else 0


def test_with_labels_so_many_are_compared_that_it_can_pass(tmp_path: Path) -> None:
    with Journal(None) as journal:
        judgement, rows = judged(tmp_path, 0.03, 240.0, journal)
    assert judgement.passed, judgement.reason
    assert rows == 600


def test_without_labels_no_more_than_the_gate_s_share_of_the_time(tmp_path: Path) -> None:
    with Journal(None) as journal:
        judgement, rows = judged(tmp_path, 0.03, 240.0, journal, labels=False)
    assert judgement.passed, judgement.reason
    assert 85 < rows <= (0.42 - 0.35) * 240.0 / (6 * 0.03)


def test_what_lacked_time_says_so_and_another_start_tries_anew(tmp_path: Path) -> None:
    with Journal(None) as journal:
        judgement, rows = judged(tmp_path, 1.0, 240.0, journal)
        assert not judgement.passed
        assert rows == 32
        assert "there was time for 32 of 600, give a longer --budget" in judgement.reason
        again, rows = judged(tmp_path, 0.03, 240.0, journal)
        assert again.passed
        assert rows == 600
        kept, rows = judged(tmp_path, 0.03, 240.0, journal)
        assert kept.passed
        assert rows == 0
