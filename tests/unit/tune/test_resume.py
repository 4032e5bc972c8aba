"""What another start has measured is not measured again: no lab and no server is started for it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.engine_control import SignatureMessage
from headrace.errors import ModelLoadError
from headrace.settings import ModelSettings
from headrace.signature import DType, Signature, TensorSpec
from headrace.tune.contestant import OVER, Ceiling, Contestant, Entry
from headrace.tune.journal import Journal
from headrace.tune.messages import Loaded, Ran
from headrace.tune.profile import Bench, Subject, slowed
from headrace.tune.wanted import Objective
from tests.unit.tune.made import F32, candidate

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("y", DType.FP32, (None, 4)),),
    batched=True,
)
LOADED = Loaded(
    signature=SignatureMessage.of(SIGNATURE),
    precision="f32",
    pads=True,
    shape={"x": (4,)},
    elements=4,
    most_rows=64,
    memory_bytes=2**20,
)
NOWHERE = Subject(Path("/nowhere/model.onnx"), ModelSettings(), 0.05, 2)


def test_a_bench_whose_times_are_known_needs_no_lab() -> None:
    with Journal(None) as journal, ExitStack() as labs:
        journal.put(LOADED.model_dump(mode="json"), "loaded", F32)
        journal.put([0.004, 0.005], "time", F32, 1, 0)
        journal.put([0.006], "time", F32, 1, 1)
        journal.put(0.9, "together", F32, 1, 2)
        bench = Bench(F32, NOWHERE, journal, labs)
        bench.load()
        bench.time(1, 0)
        bench.time(1, 1)
        assert bench.points[1].times_s == (0.004, 0.005, 0.006)
        row = bench.row({2: bench.together(1, 2)})
        assert row.speed(2) == 0.9
        assert row.pads


@pytest.mark.slow
def test_what_is_not_known_is_asked_of_a_lab_and_a_model_that_is_not_there_says_so() -> None:
    with Journal(None) as journal, ExitStack() as labs:
        with pytest.raises(ModelLoadError, match="nowhere"):
            Bench(F32, NOWHERE, journal, labs).load()
        assert journal.get("loaded", F32) is None


def test_slices_that_are_known_need_no_server_and_lead_to_the_same_rates() -> None:
    entry = Entry("/nowhere", "nowhere", Objective(0.05), ())
    with Journal(None) as journal:
        seen = {"rate_rps": 125.0, "goodput_rps": 90.0, "share": 0.7, "p99_s": 0.04, "late": False}
        journal.put(seen, "drive", candidate(), "slice", 8, 1.0, 0)
        contestant = Contestant(candidate(), entry, journal, 100.0, Ceiling(5000.0))
        assert contestant.rate_rps == pytest.approx(OVER * 100)
        assert contestant.slice(1.0, 8, 1.0, 0) == 90.0
        assert contestant.rate_rps == pytest.approx(OVER * 90)


@pytest.mark.parametrize(
    ("goodput_rps", "share", "late", "next_rps"),
    [
        (125.0, 0.995, False, 187.5),  # it held all of it: more
        (125.0, 0.995, True, 187.5),  # at so few the sender was late by chance
        (1.0, 0.01, False, 125 / 3),  # a moment of noise, perhaps
    ],
)
def test_the_next_rate_follows_what_was_held(
    goodput_rps: float, share: float, next_rps: float, *, late: bool
) -> None:
    entry = Entry("/nowhere", "nowhere", Objective(0.05), ())
    with Journal(None) as journal:
        seen = {"rate_rps": 125.0, "goodput_rps": goodput_rps, "share": share, "p99_s": None}
        journal.put(seen | {"late": late}, "drive", candidate(), "slice", 0)
        contestant = Contestant(candidate(), entry, journal, 100.0, Ceiling(5000.0))
        contestant.slice(1.0, 0)
        assert contestant.rate_rps == pytest.approx(next_rps)


def test_lanes_are_slowed_by_their_time_on_cores_and_not_by_that_of_others() -> None:
    alone, beside = Ran(wall_s=0.010, cpu_s=0.010), Ran(wall_s=0.030, cpu_s=0.0125)
    assert slowed(alone, beside, 0.010) == pytest.approx(0.8)
    # Others had the cores nearly all of the time.
    assert slowed(Ran(wall_s=0.9, cpu_s=0.010), beside, 0.010) == pytest.approx(0.8)
    asleep = Ran(wall_s=0.010, cpu_s=0.0001)
    assert slowed(asleep, Ran(wall_s=0.020, cpu_s=0.0001), 0.010) == pytest.approx(0.5)
    assert slowed(beside, alone, 0.010) == 1.0


def test_a_moment_of_noise_does_not_lower_what_a_contestant_is_given() -> None:
    entry = Entry("/nowhere", "nowhere", Objective(0.05), ())
    with Journal(None) as journal:
        for number, good_rps in enumerate((100.0, 60.0, 40.0)):
            seen: dict[str, object] = {"rate_rps": 125.0, "goodput_rps": good_rps}
            seen["share"] = good_rps / 125
            journal.put(
                seen | {"p99_s": None, "late": False}, "drive", candidate(), "slice", number
            )
        contestant = Contestant(candidate(), entry, journal, 100.0, Ceiling(5000.0))
        for number in range(3):
            contestant.slice(1.0, number)
            assert contestant.rate_rps == pytest.approx(OVER * 100)


def test_a_ceiling_is_lowered_where_senders_were_late_but_not_by_a_moment_of_noise() -> None:
    ceiling = Ceiling(5000.0)
    ceiling.lower(4000.0)
    assert ceiling.rate_rps == 3200.0
    ceiling.lower(4500.0)
    ceiling.lower(20.0)
    assert ceiling.rate_rps == 1000.0


def test_who_holds_the_ceiling_is_not_driven_above_it() -> None:
    entry = Entry("/nowhere", "nowhere", Objective(0.05), ())
    with Journal(None) as journal:
        seen = {"rate_rps": 90.0, "goodput_rps": 90.0, "share": 1.0, "p99_s": 0.01, "late": False}
        journal.put(seen, "drive", candidate(), "slice", 0)
        contestant = Contestant(candidate(), entry, journal, 500.0, Ceiling(90.0))
        assert contestant.slice(1.0, 0) == 90.0
        assert contestant.capped
