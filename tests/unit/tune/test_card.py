"""What is written down of a tuning, for a server and for people."""

from __future__ import annotations

import argparse
import io
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from headrace import tuned
from headrace.errors import SettingsError
from headrace.load.command.drive import screen
from headrace.settings import Precision
from headrace.tune import once
from headrace.tune.budget import Budget
from headrace.tune.card import card_of, not_taken
from headrace.tune.model import find_model
from headrace.tune.once import Written, _check_owner, _check_place, write_down
from headrace.tune.progress import Progress
from headrace.tune.raced import Highest
from headrace.tune.reasons import reasons
from headrace.tune.wanted import Objective, Wanted
from tests.e2e.models import write_fake
from tests.unit.tune.made import ACCURACY, tuning
from tests.unit.tune.test_result import FAST, FOUND, UNTUNED, raced


def test_numbers_have_as_many_digits_as_can_be_known(tmp_path: Path) -> None:
    accuracy = ACCURACY.model_copy(update={"cosine": 0.99971234567, "kl": 0.000123456})
    wanted = Wanted(Objective(0.07), 0.005, 240.0)  # 1e3 * 0.07 is more than 70
    seen = replace(raced(), highest={FAST: Highest(6.000000000000001, 0.0470001)})
    done = tuning(seen, FOUND, FAST, wanted)
    done = replace(done, chosen=replace(done.chosen, accuracy=accuracy))
    model = find_model(str(write_fake(tmp_path / "steady.fake")), 0.07)
    card = card_of(done, model)
    assert card.objective.slo_ms == 70
    assert (card.evidence.highest_rate_rps, card.evidence.p99_s) == (6, 0.047)
    assert card.evidence.baseline_rate_rps == 100
    assert card.accuracy is not None
    assert (card.accuracy.cosine, card.accuracy.kl) == (0.999712, 0.0001235)


def test_where_no_rate_met_the_objective_the_card_claims_none(tmp_path: Path) -> None:
    done = tuning(replace(raced(), highest={FAST: Highest(None, None)}), FOUND, FAST)
    card = card_of(done, find_model(str(write_fake(tmp_path / "steady.fake")), 0.05))
    assert card.evidence.p99_s is None
    assert card.evidence.highest_rate_rps == 200
    assert any("At none of the rates that were tried" in one for one in reasons(done))


def test_of_settings_that_answer_nothing_in_time_there_is_no_card(tmp_path: Path) -> None:
    model = find_model(str(write_fake(tmp_path / "steady.fake")), 0.05)
    never = tuning(raced({UNTUNED: (0.0,) * 6, FAST: (0.0,) * 6}), FOUND, FAST)
    place = tmp_path / "steady.tuned.yaml"
    with screen(Console(file=io.StringIO())) as shown:
        progress = Progress(shown, Budget(0.0, 240.0), lambda: 0.0)
        assert write_down(never, model, place, None, progress) == Written(None)
    assert not place.exists()
    assert "answered anything while p99 within 50 ms: they are not written" in reasons(never)[0]


@pytest.mark.parametrize(
    ("config", "lost"),
    [
        ("instance_group { count: 1 }", ("instances",)),
        ("instance_group { count: 2 }", ()),
        ("max_batch_size: 128", ()),
        ("", ()),
    ],
)
def test_what_is_set_elsewhere_wins_and_is_told(
    config: str, lost: tuple[str, ...], tmp_path: Path
) -> None:
    write_fake(tmp_path / "steady" / "1" / "model.fake")
    (tmp_path / "steady" / "config.pbtxt").write_text(config)
    model = find_model(str(tmp_path / "steady"), 0.05)
    made = tuning(raced(), FOUND, FAST)
    card = card_of(made, model)
    assert card.settings.instances == 2
    engine = {"backend", "precision"}  # of the fake, which nothing was really tuned for
    assert set(not_taken(card, model)) - engine == set(lost)
    assert dict.fromkeys(model.fixed) == ({"instances": None} if "instance" in config else {})


def test_what_the_environment_says_is_named_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DEFAULTS__PRECISION", "f32")
    model = find_model(str(write_fake(tmp_path / "steady.fake")), 0.05)
    assert model.fixed == {"precision": "environment HEADRACE_DEFAULTS__PRECISION"}
    card = card_of(tuning(raced(), FOUND, FAST), model)
    assert {"backend", "precision", "max_batch"} >= set(not_taken(card, model)) >= {"precision"}


def test_layers_in_f32_are_not_missed_where_all_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DEFAULTS__F32_LAYERS", "2")
    model = find_model(str(write_fake(tmp_path / "steady.fake")), 0.05)
    card = card_of(tuning(raced(), FOUND, FAST), model)
    plain = card.settings.model_copy(update={"precision": Precision.F32})
    assert "f32_layers" not in not_taken(card.model_copy(update={"settings": plain}), model)


@pytest.mark.slow
def test_a_page_that_cannot_be_written_leaves_the_card(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = find_model(str(write_fake(tmp_path / "steady.fake")), 0.05)
    card, page = tmp_path / "steady.tuned.yaml", tmp_path / "gone" / "page.html"
    with screen(Console(file=io.StringIO())) as shown:
        progress = Progress(shown, Budget(0.0, 240.0), lambda: 0.0)
        done = write_down(tuning(raced(), FOUND, FAST), model, card, page, progress)
    assert card.is_file()
    assert done.card is not None
    assert done.failed is not None
    assert "cannot be written" in done.failed.message


def test_a_card_that_cannot_be_written_is_told_before_and_after(tmp_path: Path) -> None:
    model = find_model(str(write_fake(tmp_path / "steady.fake")), 0.05)
    place = tmp_path / ("x" * 300)  # nobody may call a file so, root neither
    with pytest.raises(SettingsError, match=r"cannot be written.*--output"):
        _check_place(place)
    with screen(Console(file=io.StringIO())) as shown:
        progress = Progress(shown, Budget(0.0, 240.0), lambda: 0.0)
        done = write_down(tuning(raced(), FOUND, FAST), model, place, None, progress)
    assert done.card is None
    assert done.failed is not None


def test_the_card_of_another_model_of_that_name_is_not_written_over(tmp_path: Path) -> None:
    first = write_fake(tmp_path / "net.fake")
    second = tmp_path / "net.pt2"
    second.write_bytes(b"another")
    place = tuned.place(first)
    assert tuned.place(second) == place
    _check_owner(place, second)
    made = tuning(raced(), FOUND, FAST)
    tuned.write(place, card_of(made, find_model(str(first), 0.05)))
    _check_owner(place, first)
    with pytest.raises(SettingsError, match=r"is the card of net\.fake.*--output"):
        _check_owner(place, second)
    first.write_text('{"base_ms": 1}')  # a model that has changed has none
    _check_owner(place, second)


@pytest.mark.parametrize("as_json", [True, False])
def test_what_was_found_is_told_though_it_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    done = tuning(raced(), FOUND, FAST)
    failed = SettingsError("steady.tuned.yaml: cannot be written: no space is left")
    monkeypatch.setattr(once, "_tune", lambda *_: (done, Written(None, failed)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    options = argparse.Namespace(json=as_json)
    if not as_json:
        with pytest.raises(SettingsError, match="no space"):
            once.run_once(options)
        assert "200" in capsys.readouterr().out
        return
    assert once.run_once(options) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["card"], said["error"]) == (False, None, failed.message)
    assert said["chosen"]


def test_looking_whether_a_card_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    _check_place(tmp_path / "steady.tuned.yaml")
    assert not list(tmp_path.iterdir())
