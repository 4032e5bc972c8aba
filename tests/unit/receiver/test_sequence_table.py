"""The table of sequences: tables of cases, and laws that hold whatever clients do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from headrace.errors import HeadraceError, QueueFull, SequenceNotStarted, TooManySequences
from headrace.receiver.run import sequence_table
from headrace.receiver.run.sequence_table import Limits, SequenceTable, State, Turn
from headrace.values import SequenceCall

IDLE_S = 10.0


def _table(
    most: int = 3, waiting: int = 2, on_gone: Callable[[str], None] = lambda _: None
) -> SequenceTable:
    return SequenceTable("m", Limits(IDLE_S, most, waiting), on_gone)


def _state(number: float) -> State:
    return {"s": np.array([number])}


def _enter(
    table: SequenceTable,
    identity: str,
    *,
    start: bool = False,
    end: bool = False,
    at: float = 0,
    rows: int = 1,
) -> Turn:
    turn = Turn(SequenceCall(identity, start, end))
    turn.rows = rows
    table.enter(turn, at)
    return turn


def _started(
    table: SequenceTable, identity: str, number: float = 1, at: float = 0, rows: int = 1
) -> None:
    turn = _enter(table, identity, start=True, at=at, rows=rows)
    assert table.begin(turn) is None
    table.finish(turn, _state(number), at)


def test_a_sequence_goes_on_from_what_its_last_answer_left() -> None:
    table = _table()
    _started(table, "a", 7)
    turn = _enter(table, "a")
    assert table.begin(turn) == _state(7)
    table.finish(turn, _state(8), 1)
    assert table.begin(_enter(table, "a")) == _state(8)


def test_a_sequence_that_is_not_known_must_be_started() -> None:
    table = _table()
    message = (
        "inference request for sequence 42 to model 'm' must specify the START flag on the first "
        "request of the sequence"
    )
    with pytest.raises(SequenceNotStarted, match=message):
        _enter(table, "42")
    assert len(table) == 0


def test_starting_a_live_sequence_begins_it_anew() -> None:
    table = _table()
    _started(table, "a", 7)
    _started(table, "a", 9)
    assert table.begin(_enter(table, "a")) == _state(9)
    assert len(table) == 1


def test_a_restart_that_fails_leaves_the_sequence_as_it_was() -> None:
    table = _table()
    _started(table, "a", 7)
    table.abandon(_enter(table, "a", start=True), 1)
    assert table.begin(_enter(table, "a")) == _state(7)


def test_a_request_that_fails_leaves_the_sequence_as_it_was() -> None:
    table = _table()
    _started(table, "a", 7)
    table.abandon(_enter(table, "a", end=True), 1)
    assert table.begin(_enter(table, "a")) == _state(7)


def test_a_sequence_that_failed_to_start_is_none() -> None:
    gone: list[str] = []
    table = _table(on_gone=gone.append)
    table.abandon(_enter(table, "a", start=True), 1)
    assert len(table) == 0
    assert gone == ["a"]


def test_the_end_frees_it() -> None:
    gone: list[str] = []
    table = _table(on_gone=gone.append)
    _started(table, "a")
    table.finish(_enter(table, "a", end=True), _state(2), 1)
    assert len(table) == 0
    assert gone == ["a"]
    with pytest.raises(SequenceNotStarted):
        _enter(table, "a")


def test_requests_of_a_sequence_wait_and_run_in_their_order() -> None:
    table = _table()
    first = _enter(table, "a", start=True)
    second, third = _enter(table, "a"), _enter(table, "a")
    assert (first.running, second.running, third.running) == (True, False, False)
    assert table.finish(first, _state(1), 1) is second
    assert table.begin(second) == _state(1)
    assert table.finish(second, _state(2), 2) is third
    assert table.begin(third) == _state(2)
    assert table.finish(third, _state(3), 3) is None


def test_one_that_waited_for_the_end_must_start_anew() -> None:
    table = _table()
    first = _enter(table, "a", start=True, end=True)
    second = _enter(table, "a")
    third = _enter(table, "a", start=True)
    assert table.finish(first, _state(1), 1) is second
    with pytest.raises(SequenceNotStarted):
        table.begin(second)
    assert table.abandon(second, 1) is third
    assert table.begin(third) is None


def test_one_that_stops_waiting_is_not_run() -> None:
    table = _table()
    first = _enter(table, "a", start=True)
    second, third = _enter(table, "a"), _enter(table, "a")
    assert table.abandon(second, 1) is None
    assert table.waiting == 1
    assert table.finish(first, _state(1), 1) is third


def test_too_many_waiting_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table(waiting=2)
    _enter(table, "a", start=True)
    _enter(table, "b", start=True)
    _enter(table, "a")
    _enter(table, "b")
    with pytest.raises(QueueFull, match="wait for answers before sending more"):
        _enter(table, "a")
    monkeypatch.setattr(sequence_table, "MOST_WAITING", 1)
    table = _table(waiting=9)
    _enter(table, "a", start=True)
    _enter(table, "a")
    with pytest.raises(QueueFull, match="1 requests of sequence a wait already"):
        _enter(table, "a")


def test_too_many_sequences_are_refused_until_one_ends_or_expires() -> None:
    table = _table(most=2)
    _started(table, "a", at=0)
    _started(table, "b", at=5)
    with pytest.raises(TooManySequences, match=r"raise sequence\.max_streams"):
        _enter(table, "c", start=True, at=6)
    _started(table, "c", at=IDLE_S)  # a has expired
    assert "a" not in table
    assert table.expired == 1


def test_each_row_counts_until_its_sequence_ends() -> None:
    table = _table(most=4)
    _started(table, "a", rows=3)
    with pytest.raises(TooManySequences, match=r"1 sequences already, of 3 rows, .* keep 4 rows"):
        _enter(table, "b", start=True, rows=2)
    assert (len(table), table.rows) == (1, 3)
    _started(table, "b", rows=1)
    table.finish(_enter(table, "a", end=True, rows=3), _state(2), 1)
    assert table.rows == 1
    _started(table, "c", rows=3)


def test_a_start_anew_may_have_other_rows_if_there_is_room() -> None:
    table = _table(most=4)
    _started(table, "a", 7, rows=2)
    _started(table, "b", rows=1)
    turn = _enter(table, "a", start=True, rows=4)
    with pytest.raises(TooManySequences):
        table.begin(turn)
    table.abandon(turn, 1)
    assert table.rows == 3
    turn = _enter(table, "a", start=True, rows=3)
    assert table.begin(turn) is None
    assert table.rows == 4, "it takes its room before it runs"
    table.abandon(turn, 1)
    assert table.rows == 3, "and gives it back when it fails"
    assert table.begin(_enter(table, "a", rows=2)) == _state(7)


def test_idle_sequences_are_forgotten_in_time_and_running_ones_never() -> None:
    gone: list[str] = []
    table = _table(on_gone=gone.append)
    _started(table, "a", at=0)
    _started(table, "b", at=1)
    running = _enter(table, "a", at=2)
    assert table.next_expiry() == 1 + IDLE_S
    table.expire(100)
    assert gone == ["b"]
    assert table.next_expiry() is None
    table.finish(running, _state(1), 100)
    assert table.next_expiry() == 100 + IDLE_S
    with pytest.raises(SequenceNotStarted, match="idle for 10 s"):
        _enter(table, "a", at=100 + IDLE_S)


def test_clearing_forgets_everything_and_names_those_that_wait() -> None:
    table = _table()
    first = _enter(table, "a", start=True)
    second = _enter(table, "a")
    assert table.clear() == [second]
    assert table.finish(first, _state(1), 1) is None
    assert table.abandon(second, 1) is None
    assert (len(table), table.waiting, table.next_expiry()) == (0, 0, None)


class Clients(RuleBasedStateMachine):
    """Clients of a few sequences that start, go on, end, fail, give up and fall asleep.

    What a sequence remembers is made its own by naming it, so that a leak would be seen.
    """

    turns = Bundle("turns")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.gone: list[str] = []
        self.table = _table(most=3, waiting=4, on_gone=self._note)
        self.remembered: dict[str, tuple[str, int]] = {}
        self.entered: dict[str, list[Turn]] = {}
        self.used_s: dict[str, float] = {}
        self.rows: dict[str, int] = {}
        self.answers = 0

    def _note(self, identity: str) -> None:
        assert not self.entered.get(identity), "gone while a request of it runs"
        self.remembered.pop(identity, None)

    @rule(
        target=turns,
        identity=st.sampled_from("abcde"),
        start=st.booleans(),
        end=st.booleans(),
        rows=st.integers(1, 2),
    )
    def enter(self, identity: str, start: bool, end: bool, rows: int) -> object:
        turn = Turn(SequenceCall(identity, start, end))
        turn.rows = rows if start else self.rows.get(identity, 1)
        busy, full = bool(self.entered.get(identity)), self.table.rows + rows > 3
        try:
            self.table.enter(turn, self.now_s)
        except HeadraceError as error:
            if isinstance(error, SequenceNotStarted):
                assert not start
                assert identity not in self.remembered
            elif isinstance(error, TooManySequences):
                assert full
            else:
                assert busy
            return multiple()
        self.entered.setdefault(identity, []).append(turn)
        assert turn.running is not busy
        return turn

    def _leave(self, turn: Turn) -> None:
        self.entered[turn.call.id].remove(turn)

    @rule(turn=consumes(turns), fails=st.booleans())
    def end(self, turn: Turn, fails: bool) -> None:
        identity = turn.call.id
        if not turn.running:
            self._leave(turn)
            assert self.table.abandon(turn, self.now_s) is None
            return
        assert self.entered[identity][0] is turn, "not in order"
        expected = None if turn.call.start else self.remembered.get(identity)
        try:
            found = self.table.begin(turn)
        except SequenceNotStarted:
            assert expected is None
            fails = True
        except TooManySequences:
            assert turn.call.start
            fails = True
        else:
            assert (found or {}).get("s") == expected
        self._leave(turn)
        if not fails:
            self.answers += 1
            if turn.call.start:
                self.rows[identity] = turn.rows
            turn.rows = self.rows[identity]
            if turn.call.end:
                self.remembered.pop(identity, None)
            else:
                self.remembered[identity] = (identity, self.answers)
        self.used_s[identity] = self.now_s
        if fails:
            following = self.table.abandon(turn, self.now_s)
        else:
            state = {"s": (identity, self.answers)}
            following = self.table.finish(turn, state, self.now_s)  # type: ignore[arg-type]
        waiting = self.entered[identity]
        assert following is (waiting[0] if waiting else None)

    @rule(seconds=st.floats(0, 15))
    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.table.expire(self.now_s)
        for identity, used_s in self.used_s.items():
            if not self.entered.get(identity) and used_s + IDLE_S <= self.now_s:
                assert identity not in self.table

    @invariant()
    def one_of_each_runs(self) -> None:
        for turns in self.entered.values():
            assert [turn.running for turn in turns] == [True, *[False] * (len(turns) - 1)][
                : len(turns)
            ]

    @invariant()
    def what_is_kept_is_what_lives(self) -> None:
        living = {i for i, turns in self.entered.items() if turns} | self.remembered.keys()
        assert {i for i in "abcde" if i in self.table} == living
        assert len(self.table) <= self.table.rows <= 3
        if not any(self.entered.values()):
            assert self.table.rows == sum(self.rows[i] for i in living)
        assert self.table.waiting == sum(max(len(t) - 1, 0) for t in self.entered.values()) <= 4


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
