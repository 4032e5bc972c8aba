"""What another start has measured is not measured again: no lab and no server is started for it."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from headrace.engine_control import SignatureMessage
from headrace.errors import ModelLoadError, SettingsError
from headrace.load.command.drive import screen
from headrace.settings import ModelSettings
from headrace.signature import DType, Signature, TensorSpec
from headrace.tune import contestant as contestant_module
from headrace.tune.bench import Bench, Subject, slowed
from headrace.tune.budget import Budget
from headrace.tune.contestant import OVER, Ceiling, Contestant, Entry, Slice
from headrace.tune.journal import Journal
from headrace.tune.messages import Loaded, Ran
from headrace.tune.model import find_model
from headrace.tune.progress import Progress
from headrace.tune.race import Race
from headrace.tune.raced import Highest, Raced
from headrace.tune.search import journal_of
from headrace.tune.wanted import Objective, Wanted
from tests.e2e.models import write_fake
from tests.unit.tune.made import F32, OTHER, candidate, forecast

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
    with Journal(None) as journal:
        journal.put(LOADED.model_dump(mode="json"), "loaded", F32)
        journal.put([0.004, 0.005], "time", F32, 1, 0)
        journal.put([0.006], "time", F32, 1, 1)
        journal.put(0.9, "together", F32, 1, 2)
        bench = Bench(F32, NOWHERE, journal)
        bench.load()
        bench.time(1, 0)
        bench.time(1, 1)
        assert bench.points[1].times_s == (0.004, 0.005, 0.006)
        row = bench.row({2: bench.together(1, 2)})
        assert row.speed(2) == 0.9
        assert row.pads


def test_with_other_names_of_classes_nothing_is_taken_from_another_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SERVER__CACHE_DIR", str(tmp_path / "cache"))
    write_fake(tmp_path / "m.fake")
    (tmp_path / "card.yaml").write_text("labels: names.txt\n")
    wanted, found = Wanted(Objective(0.05), 0.005, 240.0), []
    for names in ("cat\ndog\n", "dog\ncat\n", "cat\ndog\n"):
        (tmp_path / "names.txt").write_text(names)
        model = find_model(str(tmp_path / "m.fake"), 0.05)
        with journal_of(model, wanted, None, fresh=False) as journal:
            found.append(journal.get("verdict"))
            journal.put(names, "verdict")
    assert found == [None, None, "cat\ndog\n"]


@pytest.mark.slow
def test_what_is_not_known_is_asked_of_a_lab_and_a_model_that_is_not_there_says_so() -> None:
    with Journal(None) as journal:
        with pytest.raises(ModelLoadError, match="nowhere"):
            Bench(F32, NOWHERE, journal).load()
        assert journal.get("loaded", F32) is None


def test_slices_that_are_known_need_no_server_and_lead_to_the_same_rates() -> None:
    entry = Entry("/nowhere", "nowhere", Objective(0.05), ())
    with Journal(None) as journal:
        seen = {"rate_rps": 125.0, "goodput_rps": 90.0, "share": 0.7, "p99_s": 0.04, "late": False}
        journal.put(seen, "drive", None, candidate(), "slice", 8, 1.0, 0)
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
        journal.put(seen | {"late": late}, "drive", None, candidate(), "slice", 0)
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


class Unasked:
    """A server that comes up, and does not take what is sent; ``up`` are those that run."""

    up: list[Unasked]
    url = "http://127.0.0.1:9"

    def __init__(self, *_: object, **__: object) -> None: ...

    def start(self) -> None:
        self.up.append(self)

    def wait_until_ready(self) -> None: ...

    def kill(self) -> None:
        self.up.remove(self)


def test_a_server_that_cannot_be_asked_does_not_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SettingsError("it takes no such requests")

    monkeypatch.setattr(Unasked, "up", [], raising=False)
    monkeypatch.setattr(contestant_module, "Server", Unasked)
    monkeypatch.setattr(contestant_module, "make_sent", refuse)
    with Journal(None) as journal:
        contestant = Contestant(candidate(), NOWHERE_TO_SEND, journal, 100.0, Ceiling(5000.0))
        for _ in range(2):
            with pytest.raises(SettingsError, match="no such requests"):
                contestant.slice(1.0, 0)
            assert not Unasked.up


def test_a_moment_of_noise_does_not_lower_what_a_contestant_is_given() -> None:
    entry = Entry("/nowhere", "nowhere", Objective(0.05), ())
    with Journal(None) as journal:
        for number, good_rps in enumerate((100.0, 60.0, 40.0)):
            seen: dict[str, object] = {"rate_rps": 125.0, "goodput_rps": good_rps}
            seen["share"] = good_rps / 125
            journal.put(
                seen | {"p99_s": None, "late": False}, "drive", None, candidate(), "slice", number
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
        journal.put(seen, "drive", None, candidate(), "slice", 0)
        contestant = Contestant(candidate(), entry, journal, 500.0, Ceiling(90.0))
        assert contestant.slice(1.0, 0) == 90.0
        assert contestant.capped


NOWHERE_TO_SEND = Entry("/nowhere", "nowhere", Objective(0.05), ())
ONE, UNTUNED = candidate(), candidate(OTHER)


def _race(journal: Journal, rate_rps: float | None, left_s: float) -> Raced:
    """What a race comes to that has so much time left, and no server to start."""
    budget = Budget(time.monotonic() + left_s - 240.0, 240.0)
    entry = replace(NOWHERE_TO_SEND, wanted_rps=rate_rps)
    wanted = Wanted(Objective(0.05), 0.005, 240.0, rate_rps)
    race = Race([forecast(ONE, 120.0)], forecast(UNTUNED, 100.0), entry, wanted, {})
    with screen(Console(file=io.StringIO())) as shown:
        return race.run(journal, Progress(shown, budget, time.monotonic))


def _raced_before(journal: Journal, rate_rps: float | None, slice_s: float, rps: float) -> None:
    """One rung of two slices each, all of them in time."""
    journal.put([[2, 1, slice_s]], "rungs", rate_rps, 240.0, 1)
    seen = {"rate_rps": rps, "goodput_rps": rps, "share": 1.0, "p99_s": 0.01, "late": False}
    for one in (ONE, UNTUNED):
        journal.put(2**20, "memory", one)
        for number in range(2):
            journal.put(seen, "drive", rate_rps, one, "slice", 2, slice_s, number)


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rates at which a server was driven, which answered nothing in time."""
    rates: list[float] = []

    def lose(_: Contestant, rate_rps: float, length_s: float, number: object) -> Slice:
        del length_s, number
        rates.append(rate_rps)
        return Slice(rate_rps, 1.0, 0.1, 0.9, late=False)

    monkeypatch.setattr(Contestant, "_drive", lose)
    return rates


@pytest.mark.usefixtures("driven")
def test_what_was_raced_for_a_rate_is_not_taken_for_all_that_can_be_had() -> None:
    with Journal(None) as journal:
        for rate_rps, slice_s, rps in ((50.0, 1.0, 75.0), (None, 2.0, 110.0)):
            _raced_before(journal, rate_rps, slice_s, rps)
        for rate_rps, slice_s, rps in ((50.0, 1.0, 75.0), (None, 2.0, 110.0)):
            raced = _race(journal, rate_rps, left_s=60.0)
            assert raced.rungs == ((2, 1, slice_s),)
            assert raced.slices == {ONE: (rps, rps), UNTUNED: (rps, rps)}


def test_a_highest_rate_that_was_never_driven_is_not_told(driven: list[float]) -> None:
    with Journal(None) as journal:
        _raced_before(journal, None, 1.0, 75.0)
        held = {"rate_rps": 67.5, "goodput_rps": 67.5, "share": 1.0, "p99_s": 0.01, "late": False}
        journal.put(held, "drive", None, UNTUNED, "highest", 0, "67.5")
        assert _race(journal, None, left_s=60.0).highest[UNTUNED] == Highest(67.5, 0.01)
        # Slices that came after it say 110 now: the search begins at another rate.
        _raced_before(journal, None, 1.0, 110.0)
        driven.clear()
        again = _race(journal, None, left_s=60.0)
        assert driven[0] == pytest.approx(99.0)
        assert again.highest[UNTUNED] == Highest(None, None)
        driven.clear()
        assert _race(journal, None, left_s=60.0).highest == again.highest
        assert not driven, "the same rates are not driven again"


@pytest.mark.usefixtures("driven")
def test_a_highest_rate_for_which_there_was_no_time_is_not_told() -> None:
    with Journal(None) as journal:
        _raced_before(journal, None, 1.0, 75.0)
        tried = _race(journal, None, left_s=60.0)
        assert tried.ranking is not None
        assert tried.highest == {tried.ranking.winner: Highest(None, None)}
        none_left = _race(journal, None, left_s=0.0)
        assert none_left.ranking is not None
        assert none_left.highest == {}
