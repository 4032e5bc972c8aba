"""What another start finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.tune.journal import Journal, place_of
from tests.unit.tune.made import BF16, F32


def test_what_was_kept_is_there_at_the_next_start(tmp_path: Path) -> None:
    place = place_of(tmp_path, "model", 3)
    with Journal(place) as journal:
        assert journal.get("time", F32, 4, 0) is None
        journal.put([0.001, 0.002], "time", F32, 4, 0)
        assert journal.get("time", F32, 4, 0) == [0.001, 0.002]
    with Journal(place) as journal:
        assert journal.found == 1
        assert journal.get("time", F32, 4, 0) == [0.001, 0.002]
        assert journal.get("time", BF16, 4, 0) is None
        assert journal.get("time", F32, 4, 1) is None


def test_another_model_has_another_journal(tmp_path: Path) -> None:
    assert place_of(tmp_path, "a", 1) != place_of(tmp_path, "a", 2)
    assert place_of(tmp_path, "a", 1) == place_of(tmp_path, "a", 1)


@pytest.mark.parametrize("rest", ['["half', "nonsense", "[1, 2]", '"text"', "{}", "[[], 1]"])
def test_a_line_that_is_cut_off_costs_what_follows_and_no_more(tmp_path: Path, rest: str) -> None:
    place = place_of(tmp_path, "model")
    with Journal(place) as journal:
        journal.put(1, "first")
    with place.open("a", encoding="utf-8") as file:
        file.write(rest)
    with Journal(place) as journal:
        assert journal.get("first") == 1
        journal.put(2, "second")
    with Journal(place) as journal:
        assert (journal.get("first"), journal.get("second")) == (1, 2)


def test_what_has_come_to_its_end_is_kept_no_longer(tmp_path: Path) -> None:
    place = place_of(tmp_path, "model")
    with Journal(place) as journal:
        journal.put(1, "first")
        journal.forget()
        assert journal.get("first") == 1
    assert not place.exists()


def test_without_a_place_it_remembers_only_as_long_as_it_is_open() -> None:
    with Journal(None) as journal:
        journal.put(1, "first")
        assert journal.get("first") == 1


def test_a_folder_that_cannot_be_made_is_no_reason_not_to_tune(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Journal(tmp_path / "file" / "tune" / "x.jsonl") as journal:
        journal.put(1, "first")
        assert journal.get("first") == 1


def test_of_many_journals_the_oldest_go(tmp_path: Path) -> None:
    for number in range(70):
        with Journal(place_of(tmp_path, number)) as journal:
            journal.put(number, "number")
    assert len(list((tmp_path / "tune").iterdir())) == 64
    with Journal(place_of(tmp_path, 69)) as journal:
        assert journal.get("number") == 69
