"""Watching with a real fleet of doubles; the receiver agrees to everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.control import Forget, ModelServing
from headrace.errors import NoRoom, SettingsError
from headrace.loader.aside import aside
from headrace.loader.fleet import Fleet
from headrace.loader.places import Place
from headrace.loader.store import find, find_named, settle
from headrace.loader.watch import Surveyor, Watch
from headrace.message import Message
from headrace.server_settings import ModelControl, ServerSettings
from headrace.settings import ModelSettings, Settings
from tests.unit.loader.audience import NOBODY


def _write(root: Path, name: str, *versions: int, text: str = "") -> None:
    for version in versions:
        path = root / name / str(version) / "model.fake"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _settings(root: Path, **entry: Any) -> Settings:
    return Settings(
        server=ServerSettings(model_control=ModelControl.POLL, poll_s=0.05),
        defaults=ModelSettings(instances=1, max_batch=1),
        models=(ModelSettings(path=root, **entry),),
    )


class Scene:
    """A fleet whose receiver agrees, and a watch of a folder of models."""

    def __init__(self, folder: Path, **entry: Any) -> None:
        settings = _settings(folder / "models", **entry)
        run = folder / "run"
        run.mkdir()
        self.fleet = Fleet(settings.server, run, tell=self._hear, audience=NOBODY)
        self.watch = Watch(settings, self.fleet)
        self.logs: list[Any] = []
        self.told: list[Message] = []

    def _hear(self, message: Message) -> None:
        self.told.append(message)
        loop = asyncio.get_running_loop()
        if isinstance(message, ModelServing):
            loop.call_soon(self.fleet.confirm, (message.name, message.version), message.socket_path)
        for one in self.told:
            if isinstance(one, ModelServing):  # a receiver that never has anything left to do
                loop.call_soon(self.fleet.emptied, one.socket_path)

    def served(self) -> set[tuple[str, int]]:
        """Name and version."""
        return set(self.fleet.serving)

    def events(self) -> list[str]:
        """What has been logged."""
        return [entry["event"] for entry in self.logs]


@contextlib.asynccontextmanager
async def _scene(folder: Path, **entry: Any) -> AsyncIterator[Scene]:
    scene = Scene(folder, **entry)
    with capture_logs() as scene.logs:
        async with asyncio.TaskGroup() as group:
            scene.fleet.start(group, ())
            watching = group.create_task(scene.watch.run())
            yield scene
            watching.cancel()
            await scene.fleet.stop(5.0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


def _card(root: Path, text: str) -> None:
    (root / "bad/card.yaml").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: _card(root, 'labels: "a\\0b"\n'), "zero byte"),
        (
            lambda root: _card(root, 'labels: "~nosuchuser/x"\n'),
            "~nosuchuser/x: cannot be read",
        ),
        (lambda root: _card(root, "batched: !!bool maybe\n"), "card.yaml:1: is not valid YAML"),
        (lambda root: _write(root, "bad", int("9" * 30)), "at most 9223372036854775807"),
    ],
)
def test_one_bad_file_is_one_models_trouble(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    _write(tmp_path, "bad", 1)
    _write(tmp_path, "good", 1)
    spoil(tmp_path)
    survey = Surveyor(_settings(tmp_path)).look()
    (trouble,) = survey.troubles
    assert words in trouble
    assert str(tmp_path / "bad") in trouble
    assert set(survey.models["good"].there) == {1}


def test_an_error_that_nobody_has_foreseen_is_one_models_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "bad", 1)
    _write(tmp_path, "good", 1)

    def spoiled(place: Place, *others: Any) -> Any:
        if place.name == "bad":
            raise KeyError("never thought of")
        return settle(place, *others)

    monkeypatch.setattr("headrace.loader.watch.settle", spoiled)
    survey = Surveyor(_settings(tmp_path)).look()
    model = tmp_path / "bad/1/model.fake"
    assert survey.troubles == {f"{model}: KeyError('never thought of')"}
    assert survey.models["bad"].unsure == {1}
    assert set(survey.models["good"].there) == {1}


async def test_no_look_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "models", "m", 1)
    looks = iter([ZeroDivisionError("never thought of")])
    look = Surveyor.look

    def spoiled(surveyor: Surveyor) -> Any:
        for error in looks:
            raise error
        return look(surveyor)

    monkeypatch.setattr(Surveyor, "look", spoiled)
    async with _scene(tmp_path) as scene:
        await _until(lambda: scene.served() == {("m", 1)})
        assert scene.events()[0] == "look_failed"


async def test_no_change_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        await _until(lambda: scene.served() == {("m", 1)})
        with monkeypatch.context() as patch:

            async def spoiled(_: Any) -> None:
                raise ZeroDivisionError("never thought of")

            patch.setattr(scene.fleet, "take", spoiled)
            _write(tmp_path / "models", "m", 2)
            await _until(lambda: "follow_failed" in scene.events())
        _write(tmp_path / "models", "m", 3)
        await _until(lambda: ("m", 3) in scene.served())
        assert ("m", 3) in scene.served()  # looks have followed


async def test_what_is_in_memory_on_demand_stays_until_a_new_version_has_loaded(
    tmp_path: Path,
) -> None:
    root = tmp_path / "models"
    _write(root, "m", 1)
    async with _scene(tmp_path, versions="latest:1", preload=False) as scene:
        await _until(lambda: ("m", 1) in scene.fleet.states)
        await scene.fleet.bring(("m", 1))
        _write(root, "m", 2, text='{"nonsense": 3}')
        await _until(lambda: "change_not_taken" in scene.events())
        _write(root, "later", 1)
        await _until(lambda: ("later", 1) in scene.fleet.states)  # looks have followed
        assert scene.fleet.states["later", 1].state == "listed"
        assert scene.served() == {("m", 1)}
        _write(root, "m", 2)
        await _until(lambda: scene.served() == {("m", 2)})


async def test_a_change_that_finds_no_room_is_taken_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        await _until(lambda: scene.served() == {("m", 1)})
        tried: list[Any] = []
        with monkeypatch.context() as patch:

            async def full(found: Any) -> None:
                tried.append(found)
                raise NoRoom("there is no room for it now")

            patch.setattr(scene.fleet, "take", full)
            _write(tmp_path / "models", "m", 2)
            await _until(lambda: len(tried) == 3)
        await _until(lambda: ("m", 2) in scene.served())
        assert scene.events().count("change_not_taken") == 1
        assert scene.events().count("model_changed") == 2


def _spoil_link(root: Path) -> None:
    (root / "bad/2").mkdir()
    (root / "bad/2/model.fake").symlink_to("nowhere")


def _spoil_choice(root: Path) -> None:
    _write(root, "bad", 2)
    (root / "bad/2/second.fake").touch()
    (root / "bad/config.pbtxt").write_text("max_batch_size: {")


@pytest.mark.parametrize("spoil", [_spoil_link, _spoil_choice])
@pytest.mark.parametrize("name", [None, "named"])
def test_what_is_wrong_with_one_version_hides_no_other(
    tmp_path: Path, spoil: Callable[[Path], None], name: str | None
) -> None:
    root = tmp_path / "models"
    _write(root, "bad", 1)
    if name is None:
        _write(root, "good", 1)
    spoil(root)
    survey = Surveyor(_settings(root, name=name)).look()
    assert survey.unread == set()
    assert survey.models[name or "bad"].unsure >= {2}
    if name is None:
        assert set(survey.models["good"].there) == {1}


def test_a_folder_that_may_not_be_read_hides_no_other() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's are for their owner alone
        root = Path(folder)
        root.chmod(0o755)
        _write(root, "m", 1)
        (root / "locked").mkdir(mode=0)
        with _not_root():
            survey = Surveyor(_settings(root)).look()
        assert survey.unread == set()
        assert survey.troubles == {f"{root}/locked: cannot be read: Permission denied"}
        assert set(survey.models["m"].there) == {1}


@contextlib.contextmanager
def _not_root() -> Iterator[None]:
    """Root may read everything: be somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["card.yaml", "config.pbtxt", "2/model.fake", "labels.txt"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    _write(tmp_path, "good", 1)
    _write(tmp_path, "bad", 1, 2)
    if name == "labels.txt":
        _card(tmp_path, "labels: labels.txt\n")
    (tmp_path / "bad" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "bad" / name)
    survey = Surveyor(_settings(tmp_path)).look()
    (trouble,) = survey.troubles
    assert f"{tmp_path}/bad/{name}: cannot be read: it is not a regular file" in trouble
    assert set(survey.models["good"].there) == {1}


async def test_a_look_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, looks = threading.Event(), iter([1])
    look = Surveyor.look

    def hangs(surveyor: Surveyor) -> Any:
        for _ in looks:
            hanging.wait()
        return look(surveyor)

    monkeypatch.setattr(Surveyor, "look", hangs)
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        await _until(lambda: "look_takes_long" in scene.events())
        assert scene.served() == set()
        hanging.set()
        await _until(lambda: scene.served() == {("m", 1)})


def test_the_end_of_a_loop_does_not_wait_for_what_hangs() -> None:
    hanging, started = threading.Event(), threading.Event()

    def hangs() -> None:
        started.set()
        hanging.wait()

    async def wait_a_moment() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(aside(hangs), 0.01)

    asyncio.run(wait_a_moment())
    assert started.is_set()
    (thread,) = (one for one in threading.enumerate() if one.name == "headrace-aside")
    assert thread.daemon
    hanging.set()
    thread.join()


@pytest.mark.parametrize("made", [False, True])
def test_a_start_where_nothing_is_yet(tmp_path: Path, made: bool) -> None:
    root = tmp_path / "models"
    if made:
        root.mkdir()
    assert Surveyor(_settings(root)).begin() == ()
    with pytest.raises(SettingsError, match="nothing to serve"):
        Surveyor(Settings()).begin()


async def test_of_two_of_one_name_neither_takes_the_place_of_what_serves(tmp_path: Path) -> None:
    flat = tmp_path / "models"
    flat.mkdir()
    (flat / "m.fake").write_text("")
    async with _scene(tmp_path) as scene:
        await _until(lambda: scene.served() == {("m", 1)})
        (flat / "m.onnx").write_text("another, which sorts after it")
        (flat / "m.tflite").write_text("and a third")
        await _until(lambda: "models_unreadable" in scene.events())
        (told,) = [one["reason"] for one in scene.logs if one["event"] == "models_unreadable"]
        assert f"two models are called 'm': {flat}/m.fake and {flat}/m." in told
        _write(flat, "later", 1)
        await _until(lambda: ("later", 1) in scene.served())
        assert scene.events().count("model_changed") == 2
        assert scene.served() == {("m", 1), ("later", 1)}


async def test_of_two_of_one_name_the_wanted_one_is_served_by_a_look_as_by_a_start(
    tmp_path: Path,
) -> None:
    root = tmp_path / "models"
    _write(root, "m", 1, 2)
    (root / "m.fake").write_text("a stray one, of version 1")
    settings = _settings(root, versions="latest:1")
    wanted = [(root / "m/2/model.fake", 2)]
    assert [(one.path, one.version) for one in find(settings)] == wanted
    assert [(one.path, one.version) for one in find_named(settings, "m")] == wanted
    assert [(one.path, one.version) for one in Surveyor(settings).begin()] == wanted
    async with _scene(tmp_path, versions="latest:1") as scene:
        await _until(lambda: scene.served() == {("m", 2)})
        shutil.rmtree(root / "m/2")  # so that there are two of version 1
        await _until(lambda: "models_unreadable" in scene.events())
        assert scene.served() == {("m", 2)}


@pytest.mark.parametrize("spoilt", ["b/m.onnx", "b/m/1/model.txt"])
def test_what_is_wrong_in_one_entry_is_no_trouble_of_a_model_of_another(
    tmp_path: Path, spoilt: str
) -> None:
    _write(tmp_path / "a", "m", 1)
    _write(tmp_path / "b", "other", 1)
    (tmp_path / "b/m.fake").touch()
    (tmp_path / spoilt).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / spoilt).touch()
    first = _settings(tmp_path / "a/m")
    settings = first.model_copy(
        update={"models": (*first.models, ModelSettings(path=tmp_path / "b"))}
    )
    survey = Surveyor(settings).look()
    assert [one.path for one, _ in survey.models["m"].there.values()] == [
        tmp_path / "a/m/1/model.fake"
    ]
    assert (survey.models["m"].unsure_of_all, survey.models["m"].unsure) == (False, set())
    assert any(str(tmp_path / "b/m") in trouble for trouble in survey.troubles)


def test_a_stray_one_is_no_version_of_the_wanted_one(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, 2)
    (tmp_path / "m.fake").write_text("version 1 of another, which sorts after it")
    there = Surveyor(_settings(tmp_path, versions="latest:1")).look().models["m"].there
    assert [there[1][0].path, there[2][0].path] == [
        tmp_path / f"m/{version}/model.fake" for version in (1, 2)
    ]


def test_a_start_takes_what_the_policy_wants_and_tells_what_is_missing(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, 2)
    (tmp_path / "m/3").mkdir()
    surveyor = Surveyor(_settings(tmp_path, versions="specific:2,3,9"))
    assert [(one.name, one.version) for one in surveyor.begin()] == [("m", 2)]
    absent, half = sorted(surveyor.look().troubles, reverse=True)
    assert absent == "model 'm' has no version 9, which `versions` names"
    assert "m/3: no model file" in half


def test_a_label_whose_version_leaves_is_told(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1)
    surveyor = Surveyor(_settings(tmp_path, versions="latest:1", version_labels={"stable": 1}))
    assert surveyor.look().troubles == set()
    _write(tmp_path, "m", 2)
    (trouble,) = surveyor.look().troubles
    assert "'stable' stands for version 1, which is not served; versions: 2" in trouble


def test_a_default_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1)
    settings = _settings(tmp_path)
    server = settings.server.model_copy(update={"default_model": "x"})
    surveyor = Surveyor(settings.model_copy(update={"server": server}))
    assert [one.name for one in surveyor.begin()] == ["m"]
    assert surveyor.look().troubles == {"server.default_model: there is no model 'x'"}


async def test_what_has_failed_or_left_is_forgotten_when_its_files_have_gone(
    tmp_path: Path,
) -> None:
    root = tmp_path / "models"
    _write(root, "m", 1, 2)
    _write(root, "m", 3, text="nonsense: 1\n")
    async with _scene(tmp_path, versions="latest:2", version_labels={"stable": 2}) as scene:
        await _until(lambda: ("m", 3) in scene.fleet.ended())
        assert scene.served() == {("m", 1), ("m", 2)} or scene.served() == {("m", 2)}
        shutil.rmtree(root / "m/3")
        await _until(lambda: ("m", 3) not in scene.fleet.states)
        assert ("m", 3) not in scene.fleet.posts()
        assert Forget(name="m", version=3) in scene.told
        _write(root, "m", 3, text="nonsense: 1\n")  # the same again is a new one
        await _until(lambda: ("m", 3) in scene.fleet.ended())
        shutil.rmtree(root / "m")
        await _until(lambda: scene.fleet.states == {})
        assert (scene.fleet.posts(), scene.fleet.labels) == ({}, {})
